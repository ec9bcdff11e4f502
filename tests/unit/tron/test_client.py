"""The client, against the real HTTP server of a Tron."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket

import httpx
import pytest
import pytest_asyncio

from funcatron import caller
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


# what is tried again


class Script(httpx.BaseTransport):
    """Answers requests as it is told: a status, or an error to raise."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    def handle_request(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        headers = {"retry-after": "2"} if answer == 503 else {}
        return httpx.Response(
            answer, headers=headers, json={"detail": f"it is {answer}", "sha": "aaaa", "stage": "routed"}
        )


def scripted(monkeypatch, *answers):
    monkeypatch.setattr(caller, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(caller, "AGAIN", 0.0)
    script = Script(*answers)
    return script, Client("http://tron.example", transport=script)


def test_while_nobody_leads_a_change_is_sent_again_under_the_same_key(monkeypatch):
    script, client = scripted(monkeypatch, 503, 503, 202)
    assert client.promote("hello", "aaaa")["stage"] == "routed"
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert (len(script.requests), len(keys)) == (3, 1)
    script, client = scripted(monkeypatch, 202)
    client.promote("hello", "aaaa")
    assert {request.headers["idempotency-key"] for request in script.requests}.isdisjoint(keys)


def test_an_answer_that_was_lost_is_asked_for_again(monkeypatch):
    script, client = scripted(monkeypatch, httpx.ReadError("reset"), httpx.RemoteProtocolError("gone"), 200)
    assert client.deployment("hello")["stage"] == "routed"
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    ("answers", "error", "calls"),
    [
        ([503] * 4, ApiError, 4),
        ([500], ApiError, 1),
        ([409], Conflict, 1),
        ([httpx.ReadTimeout("slow")], TronAway, 1),
        ([httpx.ConnectError("refused")], TronAway, 1),
        ([httpx.ReadError("reset")] * 4, TronAway, 4),
    ],
)
def test_what_asking_again_does_not_help_is_told_at_once_and_the_rest_in_the_end(monkeypatch, answers, error, calls):
    script, client = scripted(monkeypatch, *answers)
    with pytest.raises(error):
        client.deploy("hello", "aaaa")
    assert len(script.requests) == calls


def test_a_bundle_is_not_sent_twice(monkeypatch, tmp_path):
    file = tmp_path / "hello.pex"
    file.write_bytes(b"x")
    script, client = scripted(monkeypatch, 503, 503)
    with pytest.raises(ApiError):
        client.add_bundle(file)
    assert len(script.requests) == 1


def test_waiting_outlives_a_tron_that_is_gone_for_a_while(monkeypatch):
    script, client = scripted(monkeypatch, httpx.ConnectError("refused"), httpx.ConnectError("refused"), 200)
    assert client.wait("hello", "aaaa", 5)["stage"] == "routed"
    assert len(script.requests) == 3


def test_waiting_for_a_tron_that_stays_away_ends(monkeypatch):
    _, client = scripted(monkeypatch, *[httpx.ConnectError("refused")] * 3)
    monkeypatch.setattr(caller, "AWAY", 0.0)
    with pytest.raises(TronAway):
        client.wait("hello", "aaaa", 5)


def test_every_call_says_who_makes_it(monkeypatch):
    script, client = scripted(monkeypatch, 200)
    client.status()
    assert script.requests[0].headers["x-funcatron-user"] == caller.user()
    monkeypatch.setattr(caller.getpass, "getuser", lambda: (_ for _ in ()).throw(KeyError("uid not found")))
    monkeypatch.setattr(caller.socket, "gethostname", lambda: "näme")
    assert caller.user() == f"{os.getuid()}@n?me"


def test_lists_are_read_to_their_end(monkeypatch):
    pages = {
        None: {"deployments": [{"name": "a"}, {"name": "b"}], "next": "b"},
        "b": {"deployments": [{"name": "c"}]},
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=pages[request.url.params.get("cursor")]))
    assert [one["name"] for one in Client("http://x", transport=transport).deployments()] == ["a", "b", "c"]
