"""Load brings more hosts and more Runners, its end brings fewer, and no request is lost on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests import trial as trials
from tests.stack import PrivateStack, running
from tests.trial import Answer, Connection, Load, Tally, build_trial, deploy

SLOTS = 4  # calls at once in a host
HOSTS = 2  # that a Runner may run
WIDTH = 40  # requests in flight: more than two Runners' hosts can serve at once
PATIENCE = 90.0


class Watch:
    """What the admin API says of Runners and hosts."""

    def __init__(self, stack: PrivateStack) -> None:
        self.stack = stack

    def runners(self) -> dict[str, int]:
        """The Runners, and how many hosts each has or starts; none while no Tron leads."""
        answer = httpx.get(f"{self.stack.admin}/api/v2/runners", timeout=10)
        found = answer.json()["runners"] if answer.status_code == 200 else []
        return {one["id"]: sum((one["figures"] or {}).get("hosts", {}).values()) for one in found}

    async def until(self, holds: Callable[[dict[str, int]], bool], what: str) -> dict[str, int]:
        """Wait until something holds of the Runners."""
        seen: dict[str, int] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds(seen := await asyncio.to_thread(self.runners)):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.2)
        except TimeoutError as err:
            raise AssertionError(f"not so: {what}; there are {seen}\n{self.stack.log('tron')}") from err
        return seen

    def decisions(self) -> list[dict[str, Any]]:
        """The decisions that were kept, the oldest first."""
        answer = httpx.get(f"{self.stack.admin}/api/v2/decisions?limit=200", timeout=10)
        found: list[dict[str, Any]] = answer.json()["decisions"]
        return found[::-1]


def complete(load: Load, tally: Tally) -> None:
    """Every request was answered, once, with what was asked for."""
    assert tally.answers == load.sent
    assert set(tally.statuses) == {200}
    assert not tally.wrong
    assert tally.broken == 0


async def loaded(stack: PrivateStack, width: int) -> tuple[Load, asyncio.Task[Tally]]:
    """Keep so many requests in flight."""
    load = Load(stack, trials.wait_get, width)
    task = asyncio.create_task(load.run())
    await load.answered(1)
    return load, task


def added(runners: dict[str, int]) -> list[str]:
    """The Runners that the substrate has added."""
    return [name for name in runners if name != "runner-1"]


async def test_load_brings_hosts_and_runners_and_its_end_takes_them_away(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "scaling"
    settings = {"runners_max": 2, "runner_hosts": HOSTS, "runners_window": 3.0}
    with running(folder, **settings) as stack:
        deploy(stack, build_trial(tmp_path / "trial.pex"), "trial", settings={"concurrency": SLOTS})
        watch = Watch(stack)
        many, task = await loaded(stack, WIDTH)
        there = await watch.until(
            lambda seen: len(seen) == 2 and all(hosts == HOSTS for hosts in seen.values()), "two full Runners"
        )
        (name,) = added(there)
        await many.answered(WIDTH * 5)
        # the load falls to what one host serves: others go, and at last the Runner that was added
        few, trickle = await loaded(stack, 1)
        many.stop()
        complete(many, await task)
        await watch.until(lambda seen: seen == {"runner-1": 1}, "one Runner with one host")
        assert stack.states()["runner-1"].up
        await few.answered(5)
        few.stop()
        complete(few, await trickle)
        stack.wait_for(lambda: not [p for p in stack.processes("runner") if name in p.command], f"{name} has ended")
        sentences = [one["why"] for one in watch.decisions() if one["name"] == "trial"]
        assert any("waiting need" in why for why in sentences)
        counts = [one["outputs"]["count"] for one in watch.decisions() if one["name"] == ":runners"]
        assert counts == [2, 1]


async def test_runners_that_were_added_outlive_their_tron_and_go_with_the_stack(
    data_folder: Path, tmp_path: Path
) -> None:
    folder = data_folder / "adopted"
    settings = {"runners_max": 2, "runner_hosts": HOSTS}
    with running(folder, **settings) as stack:
        deploy(stack, build_trial(tmp_path / "trial.pex"), "trial", settings={"concurrency": SLOTS})
        watch = Watch(stack)
        load, task = await loaded(stack, WIDTH)
        (name,) = added(await watch.until(lambda seen: len(seen) == 2, "two Runners"))
        pids = {one.pid for one in stack.processes("runner")}
        await asyncio.to_thread(stack.kill, "tron")
        await load.answered(WIDTH * 2)
        stack.wait_ready("tron")
        await watch.until(lambda seen: name in seen and sum(seen.values()) == 2 * HOSTS, "the same Runners")
        assert {one.pid for one in stack.processes("runner")} == pids
        assert name in {part.name for part in stack.stack.status()}
        load.stop()
        complete(load, await task)
    assert stack.processes() == []


async def test_who_would_wait_in_vain_is_told_when_to_come_again(data_folder: Path, tmp_path: Path) -> None:
    retries: list[str] = []

    async def ask(connection: Connection, number: int) -> Answer:
        answer = await trials.wait_get(connection, number)
        if answer.status == 503:
            retries.append(answer.headers["retry-after"])
            assert json.loads(answer.body)["detail"].startswith("Too many requests wait for trial; come again in ")
            await asyncio.sleep(0.2)  # or refusals would be all that there is
        return answer

    with running(data_folder / "overload") as stack:
        settings = {"concurrency": 1, "instances": {"max": 1}, "queue-limit": 20}
        deploy(stack, build_trial(tmp_path / "trial.pex"), "trial", settings=settings)
        load = Load(stack, ask, 60)
        task = asyncio.create_task(load.run())
        await load.until(lambda: load.tally.statuses[503] > 0)
        served = load.tally.statuses[200]
        await load.until(lambda: load.tally.statuses[200] >= served + 10)
        load.stop()
        tally = await task
        assert tally.answers == load.sent
        assert set(tally.statuses) == {200, 503}
        assert not tally.wrong
        assert all(1 <= int(each) <= 60 for each in retries)
        with httpx.Client(base_url=stack.url, timeout=60) as client:
            stack.wait_for(lambda: client.get("/trial/echo?value=1").status_code == 200, "callers are let in again")
