"""The Blob store: on a local folder, and on fsspec's memory file system as one that is not local."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
import uuid

import pytest
import pytest_asyncio

from funcatron.errors import NotFound, SettingsError, StoreError
from funcatron.stores.blobs import Blobs, Full, TooLarge

DATA = os.urandom(3_000_000)
SHA = hashlib.sha256(DATA).hexdigest()


async def pieces(data=DATA, size=65_536):
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest_asyncio.fixture(params=["file", "memory"])
async def blobs(request, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = f"file://{tmp_path}/blobs" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    made = Blobs(url)
    await made.open()
    return made


def spooled(blobs):
    return list(blobs._spool.iterdir())


async def test_bytes_come_back_as_they_were_by_their_sha(blobs):
    kept = await blobs.put(pieces(), len(DATA))
    assert (kept.sha, kept.size) == (SHA, len(DATA))
    assert b"".join([data async for data in blobs.stream(SHA)]) == DATA
    assert await blobs.exists(SHA)
    assert await blobs.size(SHA) == len(DATA)
    assert spooled(blobs) == []


async def test_the_same_bytes_twice_are_kept_once(blobs):
    await blobs.put(pieces(), len(DATA))
    await blobs.put(pieces(), len(DATA))
    assert spooled(blobs) == []
    await blobs.delete(SHA)
    await blobs.delete(SHA)
    assert not await blobs.exists(SHA)


async def test_nothing_is_kept_before_it_is_said_so(blobs):
    received = await blobs.receive(pieces(), len(DATA))
    assert not await blobs.exists(SHA)
    await blobs.discard(received)
    await blobs.discard(received)
    assert spooled(blobs) == []


async def test_what_is_over_the_limit_leaves_nothing_behind(blobs):
    with pytest.raises(TooLarge, match="2,999,999 bytes"):
        await blobs.put(pieces(), len(DATA) - 1)
    assert spooled(blobs) == []
    assert not await blobs.exists(SHA)


async def test_a_client_that_goes_away_leaves_nothing_behind(blobs):
    async def broken():
        yield DATA
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await blobs.put(broken(), 10**9)
    assert spooled(blobs) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64])
async def test_what_is_not_there_is_not_found(blobs, name):
    with pytest.raises(NotFound):
        await blobs.size(name)
    with pytest.raises(NotFound):
        async for _ in blobs.stream(name):
            pass


async def test_a_full_disk_says_so(blobs, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Full, match="full"):
        await blobs.put(pieces(), len(DATA))
    assert spooled(blobs) == []


async def test_what_a_killed_process_left_is_cleared_away_in_time(blobs):
    old, new = blobs._spool / "old", blobs._spool / "new"
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (0, 0))
    await blobs.open()
    assert spooled(blobs) == [new]


async def test_large_bytes_are_never_whole_in_memory(blobs):
    if "memory" in blobs.url:
        return  # that store is memory

    async def much():
        for _ in range(500):
            yield bytes(100_000)

    tracemalloc.start()
    await blobs.put(much(), 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


async def test_a_store_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Blob store failed"):
        await Blobs(f"file://{tmp_path}/file").open()


def test_an_unknown_kind_of_store_is_a_clear_error():
    with pytest.raises(SettingsError, match="FUNCATRON_BLOBS"):
        Blobs("nosuch://x")
