"""The failure table of docs/architecture.md on real servers, under load where the row is about load.

A client counts: each request is answered exactly once, with its own id.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests import trial as trials
from tests.stack import PrivateStack, running
from tests.trial import Answer, Connection, Load, Tally

WIDTH = 200


@pytest.fixture(autouse=True)
def whole(trial: PrivateStack) -> None:
    """Every test begins with a stack that serves."""
    trial.wait_ready()
    with httpx.Client(base_url=trial.url, timeout=30) as client:
        trial.wait_for(lambda: client.get("/trial/echo?value=1").status_code == 200, "the trial Func serves", 30)


@pytest.fixture
def marks(data_folder: Path) -> Path:
    """A folder that hosts, which run as users of their own, may write to."""
    folder = Path(tempfile.mkdtemp(dir=data_folder))
    folder.chmod(0o777)
    return folder


async def under_load(
    stack: PrivateStack, ask: trials.Ask, harm: Callable[[Load], Awaitable[None]], width: int = WIDTH
) -> Tally:
    """Keep requests in flight, do harm, go on a while, and return what came back; each request ended once."""
    load = Load(stack, ask, width)
    running = asyncio.create_task(load.run())
    await load.answered(width)
    await harm(load)
    await load.answered(width * 2)
    load.stop()
    tally = await running
    assert tally.answers == load.sent
    assert not tally.wrong
    return tally


async def test_idempotent_requests_survive_the_death_of_a_runner(trial: PrivateStack) -> None:
    async def harm(_: Load) -> None:
        await asyncio.to_thread(trial.kill, "runner")

    tally = await under_load(trial, trials.wait_get, harm)
    assert set(tally.statuses) == {200}
    assert tally.broken == 0


async def test_other_requests_get_200_or_502_when_a_runner_dies(trial: PrivateStack) -> None:
    async def harm(_: Load) -> None:
        await asyncio.to_thread(trial.kill, "runner")

    tally = await under_load(trial, trials.wait_post, harm)
    assert set(tally.statuses) <= {200, 502}
    assert tally.broken == 0


async def test_a_host_that_dies_costs_only_what_must_not_run_twice(trial: PrivateStack) -> None:
    async def harm(_: Load) -> None:
        await asyncio.to_thread(trial.kill, "host")

    tally = await under_load(trial, trials.wait_get, harm)
    assert set(tally.statuses) == {200}
    tally = await under_load(trial, trials.wait_post, harm)
    assert set(tally.statuses) <= {200, 502}


async def test_nobody_notices_the_death_of_the_tron(trial: PrivateStack) -> None:
    async def harm(_: Load) -> None:
        await asyncio.to_thread(trial.kill, "tron")

    tally = await under_load(trial, trials.mixed, harm)
    assert set(tally.statuses) == {200}
    assert tally.broken == 0


async def test_an_nginx_worker_that_dies_costs_only_its_own_connections(trial: PrivateStack) -> None:
    async def harm(_: Load) -> None:
        await asyncio.to_thread(trial.kill, "nginx worker")

    workers = len(trial.processes("nginx worker"))
    tally = await under_load(trial, trials.mixed, harm)
    assert set(tally.statuses) <= {200, 503}
    assert tally.broken <= WIDTH
    trial.wait_for(lambda: len(trial.processes("nginx worker")) == workers, "the worker is replaced")
    trial.wait_for(lambda: len(reply_queues(trial)) == workers, "no reply queue is left", 30)


async def test_a_broker_restart_is_503_at_once_and_over_soon_after_its_return(trial: PrivateStack) -> None:
    slowest = 0.0

    async def ask(connection: Connection, number: int) -> Answer:
        nonlocal slowest
        began = time.monotonic()
        answer = await trials.mixed(connection, number)
        if answer.status == 503:
            slowest = max(slowest, time.monotonic() - began)
            assert answer.headers["retry-after"]
            await asyncio.sleep(0.05)  # a client that tries again, not one that hammers
        return answer

    back = 0.0

    async def harm(load: Load) -> None:
        nonlocal back
        await asyncio.to_thread(trial.stop_part, "broker")
        await load.answered(WIDTH)
        await asyncio.to_thread(trial.start_part, "broker")
        await asyncio.to_thread(trial.wait_ready, "broker")
        back = time.monotonic()
        before = load.tally.statuses[200]
        await load.until(lambda: load.tally.statuses[200] > before)
        back = time.monotonic() - back

    tally = await under_load(trial, ask, harm)
    assert set(tally.statuses) <= {200, 502, 503}
    assert tally.statuses[503] >= WIDTH
    assert back < 5, f"served again {back:.1f} s after the broker was back"
    assert slowest < 5, f"a 503 took {slowest:.1f} s"


async def test_going_down_under_load_is_graceful(trial: PrivateStack) -> None:
    """Every request that was taken is answered; later ones find a closed port."""
    load = Load(trial, trials.mixed, 50)
    running = asyncio.create_task(load.run())
    await load.answered(100)
    down = asyncio.create_task(asyncio.to_thread(trial.down))
    while not down.done():
        await asyncio.sleep(0.05)
        if load.tally.broken > 100:
            load.stop()
    load.stop()
    await down
    tally = await running
    assert set(tally.statuses) <= {200, 503}, tally.statuses
    assert not trial.processes()
    await asyncio.to_thread(trial.up)


def test_a_func_over_its_time_is_a_504_and_others_go_on(trial: PrivateStack) -> None:
    with httpx.Client(base_url=trial.url, timeout=30) as client:
        began = time.monotonic()
        assert client.get("/trial/late", params={"seconds": 8}).status_code == 504
        assert time.monotonic() - began < 5
        assert client.get("/trial/echo?value=1").status_code == 200


def test_a_host_that_does_not_yield_is_replaced(trial: PrivateStack) -> None:
    with httpx.Client(base_url=trial.url, timeout=30) as client:
        before = client.get("/trial/peek").json()["pid"]
        assert client.get("/trial/stuck").status_code == 504
        trial.wait_for(lambda: client.get("/trial/peek").json().get("pid") not in {None, before}, "a new host serves")


def test_a_func_that_kills_its_host_is_a_502_and_runs_at_most_twice(trial: PrivateStack, marks: Path) -> None:
    with httpx.Client(base_url=trial.url, timeout=30) as client:
        assert client.post("/trial/die", params={"mark": str(marks / "post")}).status_code == 502
        assert (marks / "post").read_text() == "x"
        assert client.get("/trial/die", params={"mark": str(marks / "get")}).status_code == 502
        assert (marks / "get").read_text() == "xx"
        trial.wait_for(lambda: client.get("/trial/echo?value=1").status_code == 200, "the host is replaced")


async def test_what_is_marked_retry_always_runs_again_when_its_runner_dies(trial: PrivateStack, marks: Path) -> None:
    mark = marks / "always"
    async with httpx.AsyncClient(base_url=trial.url, timeout=30) as client:
        asked = asyncio.create_task(client.post("/trial/always", params={"seconds": 2, "mark": str(mark)}))
        await asyncio.to_thread(trial.wait_for, mark.exists, "the Func was applied")
        await asyncio.to_thread(trial.kill, "runner")
        assert (await asked).status_code == 200
    assert mark.read_text() == "xx"


def test_an_async_call_that_fails_ends_in_the_dead_letter_queue_after_its_retries(
    trial: PrivateStack, marks: Path
) -> None:
    mark = marks / "dead"
    with httpx.Client(base_url=trial.url, timeout=30) as client, httpx.Client(base_url=trial.admin) as admin:
        headers = {"Prefer": "respond-async", "X-Request-Id": "dead-1"}
        assert client.post("/trial/raise", params={"mark": str(mark)}, headers=headers).status_code == 202
        trial.wait_for(lambda: "dead-1" in admin.get("/api/v2/dead-letters").text, "it is a dead letter", 60)
    assert len(mark.read_text()) > 1


def test_more_waiting_requests_than_allowed_are_503_at_once(trial: PrivateStack, data_folder: Path) -> None:
    settings = {"max_waiting": 10, "nginx_workers": "1"}
    with running(data_folder / "small", **settings) as small:
        trials.deploy(small, trials.build_trial(data_folder / "trial.pex"), "trial")
        statuses, took = asyncio.run(_crowd(small, 40))
    assert set(statuses) == {200, 503}
    assert statuses.count(200) == 10
    assert took < 2


async def _crowd(stack: PrivateStack, count: int) -> tuple[list[int], float]:
    """Send so many slow requests at once; return their statuses, and when the first was answered (s)."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        held = [asyncio.create_task(client.get("/trial/wait/async?seconds=3")) for _ in range(count)]
        began = time.monotonic()
        done, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        took = time.monotonic() - began
        first = done.pop().result()
        assert first.status_code == 503
        assert first.headers["retry-after"]
        return [answer.status_code for answer in await asyncio.gather(*held)], took


def reply_queues(stack: PrivateStack) -> list[str]:
    """The Frontends' reply queues that the broker has."""
    answer = httpx.get(
        f"http://127.0.0.1:{stack.settings.management_port}/api/queues",
        auth=(stack.settings.broker_user, stack.password),
    )
    return [queue["name"] for queue in answer.json() if queue["name"].startswith("funcatron.frontend.")]
