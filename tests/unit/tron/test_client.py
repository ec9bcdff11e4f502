"""The client, against the real HTTP server of a Tron."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket

import pytest
import pytest_asyncio

from funcatron.client import ApiError, Client, TronAway
from funcatron.errors import Conflict, NotFound, SettingsError
from funcatron.tron import server
from funcatron.tron.web.app import create_app


@pytest_asyncio.fixture
async def remote(tron):
    """A client of a Tron that listens on a free port."""
    listener = server.listen("127.0.0.1", 0)
    api = server._Server(server.http_config(create_app(tron)))
    serving = asyncio.create_task(api.serve([listener]))
    with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as made:
        yield made
    api.should_exit = True
    await serving


async def call(function, *arguments, **more):
    return await asyncio.to_thread(function, *arguments, **more)


async def test_a_bundle_goes_all_the_way_with_progress(installation, remote, bundle, tmp_path, wait_until):
    await installation.runner()
    file = tmp_path / "hello.pex"
    file.write_bytes(bundle(n="x" * 600_000))
    sent, stages = [], []
    stored = await call(remote.add_bundle, file, lambda done, of: sent.append((done, of)))
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    assert stored["sha"] == sha
    assert sent[-1] == (file.stat().st_size, file.stat().st_size)
    assert len(sent) == 3
    begun = await call(remote.deploy, "hello", sha, {"a": 1})
    assert begun["stage"] in {"loading", "routed"}
    found = await call(remote.wait, "hello", sha, 5, lambda one: stages.append(one["stage"]))
    assert found["stage"] == stages[-1] == "routed"
    assert (await call(remote.deployment, "hello"))["props"] == {"a": 1}
    assert [one["name"] for one in await call(remote.deployments)] == ["hello"]
    assert [one["sha"] for one in await call(remote.bundles)] == [sha]
    assert (await call(remote.bundle, sha[:10]))["name"] == "hello"
    assert len((await call(remote.routes))["routes"]) == 1
    assert (await call(remote.status))["tron"]["ready"]
    assert (await call(remote.history, "hello"))[0]["outcome"] == "routed"
    assert await call(remote.ready)
    await call(remote.undeploy, "hello")
    assert await call(remote.wait_gone, "hello", 5)
    with pytest.raises(NotFound, match="no deployment 'hello'"):
        await call(remote.deployment, "hello")


async def test_waiting_ends_with_the_failure_of_what_was_deployed(installation, remote, bundle, tmp_path):
    file = tmp_path / "hello.pex"
    file.write_bytes(bundle())
    sha = hashlib.sha256(bundle()).hexdigest()
    await installation.runner(refuse={sha: "ImportError: nope"})
    await call(remote.add_bundle, file)
    await call(remote.deploy, "hello", sha)
    found = await call(remote.wait, "hello", sha, 5)
    assert (found["stage"], found["error"]) == ("failed", "ImportError: nope")
    with pytest.raises(Conflict, match="another SHA"):
        await call(remote.wait, "hello", "0" * 64, 5)


async def test_what_the_tron_refuses_is_an_error_with_every_fault(remote, tmp_path):
    file = tmp_path / "bad.pex"
    file.write_bytes(b'{"problems": ["paths is missing", "info is missing"]}')
    with pytest.raises(ApiError, match=r"(?s)the spec is wrong.*paths is missing.*info is missing") as caught:
        await call(remote.add_bundle, file)
    assert caught.value.status == 422
    assert caught.value.request_id


async def test_dead_letters_can_be_listed_and_dropped(installation, tron, remote, wait_until):
    frontend = await installation.frontend()
    frontend.request("/nowhere", wait=False)
    await wait_until(lambda: tron.counters.dead_lettered == 1)
    (kept,) = await call(remote.dead_letters)
    await call(remote.retry, kept["id"])  # nobody serves it: it comes back
    await wait_until(lambda: tron.counters.dead_lettered == 2)
    (kept,) = await call(remote.dead_letters)
    await call(remote.drop, kept["id"])
    assert await call(remote.dead_letters) == []
    with pytest.raises(NotFound):
        await call(remote.drop, "a/b?c")


def test_no_tron_is_a_clear_error():
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with Client(f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            assert not client.ready()
            with pytest.raises(TronAway, match="no Tron answers"):
                client.status()


async def test_a_taken_port_is_an_error_that_names_the_setting():
    listener = server.listen("127.0.0.1", 0)
    with pytest.raises(SettingsError, match="set FUNCATRON_ADMIN_PORT"):
        server.listen("127.0.0.1", listener.getsockname()[1])
    listener.close()
    with pytest.raises(SettingsError, match="FUNCATRON_ADMIN_HOST"):
        server.listen("192.0.2.1", 0)
