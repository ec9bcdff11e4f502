"""Several Tron processes on real servers: one leads, all dispatch, and nobody notices when another takes over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import trial as trials
from tests.stack import PrivateStack, free_ports, running
from tests.trial import Load, build_trial, deploy

WIDTH = 50


class TronProcess:
    """A Tron beside the one of the stack, with an admin API of its own."""

    def __init__(self, stack: PrivateStack) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = stack.stack.folders.log / f"tron-{self.port}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FUNCATRON_")}
        ours = {"FUNCATRON_CONFIG": str(stack.stack.folders.settings), "FUNCATRON_ADMIN_PORT": str(self.port)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "funcatron.cli.serve", "tron"], env={**clean, **ours}, stderr=log
            )
        stack.wait_for(lambda: ready(self.url), f"the Tron at {self.url} is ready:\n{self.log.read_text()}", 30)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, also when it is stopped."""
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(30)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def asked(url: str, path: str) -> dict[str, Any]:
    """Return what a Tron answers; nothing while nobody leads, or the Tron is away."""
    try:
        answer = httpx.get(f"{url}{path}", timeout=10, trust_env=False)
    except httpx.TransportError:
        return {}
    return dict(answer.json()) if answer.status_code == 200 else {}


def leader_of(url: str) -> tuple[str, int] | None:
    """Return URL and epoch of the leader, as a Tron knows it."""
    led = [one for one in asked(url, "/api/v2/trons").get("trons", []) if one["leads"]]
    return (led[0]["url"], led[0]["epoch"]) if led else None


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_trial(tmp_path_factory.mktemp("trial") / "trial.pex")


@pytest.fixture(scope="module")
def stack(data_folder: Path, bundle: Path) -> Iterator[PrivateStack]:
    """A stack with the trial bundle, which the tests leave with one Tron: its own."""
    with running(data_folder / "trons") as made:
        deploy(made, bundle, "trial")
        yield made


@pytest.fixture
def beside(stack: PrivateStack) -> Iterator[Callable[[], TronProcess]]:
    """Starts further Trons; they are ended after the test."""
    stack.wait_for(lambda: ready(stack.admin), "the stack's Tron is ready", 30)
    stack.wait_for(lambda: leader_of(stack.admin) is not None, "it leads", 30)
    started: list[TronProcess] = []

    def start() -> TronProcess:
        started.append(TronProcess(stack))
        return started[-1]

    yield start
    for one in started:
        one.end()


@contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_nothing_is_lost_when_the_leader_is_killed(stack: PrivateStack, beside: Any) -> None:
    other = await asyncio.to_thread(beside)
    known = leader_of(other.url)
    assert known is not None
    assert known[0] == stack.admin
    load = Load(stack, trials.mixed, WIDTH)
    requests = asyncio.create_task(load.run())
    await load.answered(WIDTH)
    await asyncio.to_thread(stack.kill, "tron")  # all that the supervisor runs, and that is the leader
    await load.answered(WIDTH)
    await asyncio.to_thread(
        stack.wait_for, lambda: leader_of(other.url) == (other.url, known[1] + 1), "the other one leads", 20
    )
    await load.answered(WIDTH)
    load.stop()
    tally = await requests
    assert (set(tally.statuses), tally.broken, tally.wrong) == ({200}, 0, [])
    assert tally.answers == load.sent
    # the first one is there again, and follows
    stack.wait_for(lambda: len(asked(stack.admin, "/api/v2/trons").get("trons", [])) == 2, "both are known", 30)
    assert leader_of(stack.admin) == (other.url, known[1] + 1)


def test_a_leader_that_stops_in_order_is_followed_at_once(stack: PrivateStack, beside: Any) -> None:
    first, second = beside(), beside()
    stack.stop_part("tron")
    try:
        stack.wait_for(lambda: leader_of(first.url) is not None, "another leads")
        led = leader_of(first.url)
        assert led is not None
        leader, follower = (first, second) if led[0] == first.url else (second, first)
        leader.end()
        stack.wait_for(lambda: leader_of(follower.url) == (follower.url, led[1] + 1), "the last one leads")
        assert "could not be given up" not in leader.log.read_text()
    finally:
        stack.start_part("tron")


def test_a_leader_that_was_paused_changes_nothing_and_follows(
    stack: PrivateStack, beside: Any, bundle: Path, tmp_path: Path
) -> None:
    old = beside()
    stack.stop_part("tron")
    try:
        stack.wait_for(lambda: leader_of(old.url) is not None, "the Tron beside leads")
        led = leader_of(old.url)
        assert led is not None
        new = beside()
        # the leader is paused in the middle of something
        begin(old.url, "trial", bundle, tmp_path / "other.pex")
        with paused(old.process):
            stack.wait_for(lambda: leader_of(new.url) == (new.url, led[1] + 1), "the other one leads", 20)
            with httpx.Client(base_url=new.url, timeout=60, trust_env=False) as admin:
                stack.wait_for(lambda: stage(admin, "trial") == "routed", "what was begun is ended by the other", 60)
                deploy_again(admin, bundle, "trial")
                stack.wait_for(lambda: stage(admin, "trial") == "routed", "the first bundle serves again", 60)
                drained(stack, admin)
                before = state(admin)
        stack.wait_for(lambda: leader_of(old.url) == (new.url, led[1] + 1), "the old one follows", 30)
        stack.wait_for(lambda: "does not lead any more" in old.log.read_text(), "it knows that it does not lead")
        with httpx.Client(base_url=new.url, timeout=60, trust_env=False) as admin:
            stack.wait_for(lambda: len(admin.get("/api/v2/trons").json()["trons"]) == 2, "the leader knows both")
            assert state(admin) == before
        assert tables(stack) == {tuple(before["routes"])}
        for number in range(20):
            answer = httpx.get(f"{stack.url}/trial/echo", params={"value": number}, timeout=30, trust_env=False)
            assert answer.json() == {"value": str(number)}
    finally:
        stack.start_part("tron")


def test_a_follower_deploys_and_undeploys(stack: PrivateStack, beside: Any, bundle: Path) -> None:
    follower = beside()
    assert leader_of(follower.url) != follower.url
    with httpx.Client(base_url=follower.url, timeout=60, trust_env=False) as admin:
        deploy_again(admin, bundle, "trial", props={"color": "blue"})
        stack.wait_for(lambda: stage(admin, "trial") == "routed", "it serves with other properties", 60)
        assert admin.get("/api/v2/deployments/trial").json()["props"] == {"color": "blue"}
        assert admin.delete("/api/v2/deployments/trial").status_code == 202
        stack.wait_for(lambda: stage(admin, "trial") is None, "it is gone", 60)
        deploy_again(admin, bundle, "trial")
        stack.wait_for(lambda: stage(admin, "trial") == "routed", "it serves again", 60)


def begin(url: str, name: str, bundle: Path, output: Path) -> None:
    """Begin to deploy a bundle that is another only by its bytes."""
    output.write_bytes(bundle.read_bytes())
    with zipfile.ZipFile(output, "a") as file:
        file.writestr("another", os.urandom(8).hex())
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as admin:
        deploy_again(admin, output, name)


def deploy_again(admin: httpx.Client, bundle: Path, name: str, **wanted: Any) -> None:
    data = bundle.read_bytes()
    stored = admin.post("/api/v2/bundles", content=data)
    assert stored.status_code in {200, 201}, stored.text
    begun = admin.put(f"/api/v2/deployments/{name}", json={"sha": hashlib.sha256(data).hexdigest(), **wanted})
    assert begun.status_code == 202, begun.text


def stage(admin: httpx.Client, name: str) -> str | None:
    found = admin.get(f"/api/v2/deployments/{name}")
    return found.json()["stage"] if found.status_code == 200 else None


def drained(stack: PrivateStack, admin: httpx.Client) -> None:
    stack.wait_for(lambda: not admin.get("/api/v2/deployments/trial").json()["draining"], "nothing drains", 60)


def state(admin: httpx.Client) -> dict[str, Any]:
    """Return all that a leader can change: what is deployed, routed, and what was done."""
    table = admin.get("/api/v2/routes").json()
    deployed = admin.get("/api/v2/deployments").json()["deployments"]
    return {
        "version": table["version"],
        "routes": [(one["path"], one["queue"]) for one in table["routes"]],
        "deployments": [(one["name"], one["sha"], one["stage"], one["revision"]) for one in deployed],
        "history": admin.get("/api/v2/history").json()["events"],
    }


def tables(stack: PrivateStack) -> set[tuple[tuple[str, str], ...]]:
    """Return the route tables that the Frontend's workers have; each connection may come to another one."""
    found = set()
    for _ in range(10):
        shown = httpx.get(f"{stack.url}/__routes", trust_env=False).json()
        found.add(tuple((one["path"], one["queue"]) for one in shown["routes"]))
    return found
