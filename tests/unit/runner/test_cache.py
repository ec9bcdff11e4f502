"""Bundles on this machine: fetched once, verified, shared, evicted."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from funcatron.errors import BadBundle, NotFound, StoreError
from funcatron.runner import cache as cache_module
from funcatron.runner.cache import Cache, passable, place
from funcatron.settings import Settings

DATA = b"PK bundle" * 50_000
SHA = hashlib.sha256(DATA).hexdigest()


class Tron:
    """The bundle call of the admin API."""

    def __init__(self) -> None:
        self.data, self.token = DATA, None
        self.failures: list[int] = []
        self.requests: list[str] = []
        tron = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tron.requests.append(self.path)
                status = tron.failures.pop(0) if tron.failures else 200
                if tron.token and self.headers.get("Authorization") != f"Bearer {tron.token}":
                    status = 401
                self.send_response(status)
                body = tron.data if status == 200 else b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def tron() -> Iterator[Tron]:
    """A Tron that has one bundle."""
    made = Tron()
    yield made
    made.close()


def made(tmp_path: Path, tron: Tron, **more: Any) -> Cache:
    cache = Cache(tmp_path / "cache", tron.url, **more)
    cache.prepare()
    return cache


async def test_a_bundle_is_fetched_once(tmp_path: Path, tron: Tron) -> None:
    cache, other = made(tmp_path, tron), made(tmp_path, tron)
    found = await asyncio.gather(cache.fetch(SHA), cache.fetch(SHA), other.fetch(SHA))
    assert found[0] == tmp_path / "cache" / SHA / "bundle"
    assert found[0].read_bytes() == DATA
    assert tron.requests == [f"/api/v1/bundle/{SHA}"]
    assert found[0].stat().st_mode & 0o777 == 0o644
    cache.close()
    other.close()


async def test_a_failed_fetch_is_tried_again(tmp_path: Path, tron: Tron) -> None:
    tron.failures = [503, 500]
    cache = made(tmp_path, tron)
    assert (await cache.fetch(SHA)).read_bytes() == DATA
    assert len(tron.requests) == 3
    cache.close()


async def test_bytes_with_another_sha_are_refused_and_leave_nothing(tmp_path: Path, tron: Tron) -> None:
    tron.data = DATA[:-1]
    cache = made(tmp_path, tron, patience=0.1)
    with pytest.raises(StoreError, match="SHA-256"):
        await cache.fetch(SHA)
    assert list((tmp_path / "cache" / SHA).iterdir()) == []
    cache.close()


async def test_an_unknown_bundle_is_not_asked_for_twice(tmp_path: Path, tron: Tron) -> None:
    tron.failures = [404]
    cache = made(tmp_path, tron)
    with pytest.raises(NotFound):
        await cache.fetch(SHA)
    assert len(tron.requests) == 1
    cache.close()


async def test_the_token_is_sent_and_a_wrong_one_is_named(tmp_path: Path, tron: Tron) -> None:
    tron.token = "secret"
    cache = made(tmp_path, tron, token="wrong")
    with pytest.raises(StoreError, match="FUNCATRON_ADMIN_TOKEN"):
        await cache.fetch(SHA)
    cache.token = "secret"
    assert (await cache.fetch(SHA)).is_file()
    cache.close()


async def test_a_sha_that_is_none_never_becomes_a_path(tmp_path: Path, tron: Tron) -> None:
    cache = made(tmp_path, tron)
    for bad in ("../../etc/passwd", "", "a" * 63, "A" * 64):
        with pytest.raises(BadBundle):
            await cache.fetch(bad)
    assert tron.requests == []


async def test_what_no_runner_holds_is_evicted_but_for_the_last_used(tmp_path: Path, tron: Tron) -> None:
    cache, other = made(tmp_path, tron), made(tmp_path, tron)
    shas = [hashlib.sha256(bytes([n])).hexdigest() for n in range(5)]
    for number, sha in enumerate(shas):
        home = cache.home(sha)
        home.mkdir()
        (home / "bundle").write_bytes(b"x")
        lock = tmp_path / "cache" / "locks" / f"{sha}.used"
        lock.touch()
        import os

        os.utime(lock, (number, number))
    other.hold(shas[0])
    os.utime(tmp_path / "cache" / "locks" / f"{shas[0]}.used", (0, 0))
    gone = await cache.evict({shas[1]}, keep=1)
    assert sorted(gone) == sorted([shas[2], shas[3]])
    assert {home.name for home in (tmp_path / "cache").iterdir() if len(home.name) == 64} == {shas[0], shas[1], shas[4]}
    other.close()
    assert await cache.evict({shas[1]}, keep=0) != []
    cache.close()


def test_the_cache_is_where_hosts_can_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    settings = Settings(data=closed)
    monkeypatch.setattr(cache_module.os, "geteuid", lambda: 0)
    assert str(place(settings)).startswith("/var/cache/funcatron/")
    assert "cannot be reached" in caplog.text
    monkeypatch.setattr(cache_module.os, "geteuid", lambda: 1000)
    assert place(settings) == closed / "cache"


def test_a_folder_is_passable_if_all_above_it_are(tmp_path: Path) -> None:
    assert passable(Path("/usr/share/nothing/yet"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not passable(closed / "x")
