"""Who leads: several Leaderships on one database, with troubles between each of them and it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from funcatron.errors import NotLeader, StoreError
from funcatron.stores.lease import Lease, Tenure
from funcatron.stores.registry import Registry
from funcatron.tron.leadership import Leadership, Pace

QUICK = Pace(ttl=0.6, beat=0.1, look=0.05, unfit=0.3)


class Line:
    """A Registry behind a line that can be cut, or hang."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.cut = False
        self.hangs = False
        self.calls: list[str] = []

    async def leader(self) -> Lease:
        return await self._through("leader", self.registry.leader)

    async def acquire(self, *arguments: Any) -> Lease | None:
        return await self._through("acquire", self.registry.acquire, *arguments)

    async def renew(self, held: Lease) -> Lease:
        return await self._through("renew", self.registry.renew, held)

    async def release(self, held: Lease) -> None:
        await self._through("release", self.registry.release, held)

    async def _through(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self.calls.append(name)
        if self.hangs:
            await asyncio.Event().wait()
        if self.cut:
            raise StoreError("the Registry is out of reach")
        return await call(*arguments)


class Candidate:
    """Somebody who campaigns, and notes what it is told to do."""

    def __init__(self, name: str, line: Line, **more: Any) -> None:
        self.name, self.line = name, line
        self.done: list[tuple[str, int, bool]] = []
        self.error: Exception | None = None
        self.fit = True
        self.rivals: list[Candidate] = []
        self.overlaps = 0
        self.leadership = Leadership(
            line,
            name,
            f"http://{name}",
            take_up=self._take_up,
            step_down=self._step_down,
            fit=lambda: self.fit,
            pace=QUICK,
            **more,
        )
        self.task: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        return self.leadership.holds() and bool(self.done) and self.done[-1][0] == "take up"

    async def _take_up(self, tenure: Tenure, silent: bool) -> None:
        if self.error is not None:
            raise self.error
        self.overlaps += sum(rival.leadership.holds() for rival in self.rivals)
        self.done.append(("take up", tenure.epoch, silent))

    async def _step_down(self) -> None:
        lease = await self.line.registry.leader()
        self.done.append(("step down", lease.epoch, lease.holder == self.name))

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def campaigning(tmp_path: Path, name: str, **more: Any) -> AsyncIterator[Candidate]:
    registry = Registry(f"sqlite:///{tmp_path}/registry.db")
    await registry.open()
    made = Candidate(name, Line(registry), **more)
    made.task = asyncio.create_task(made.leadership.run())
    try:
        yield made
    finally:
        made.line.cut = made.line.hangs = False
        await made.stop()
        await registry.close()


async def test_the_first_who_looks_leads_and_others_know_where(tmp_path, wait_until):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        assert one.done == [("take up", 1, False)]
        async with campaigning(tmp_path, "two") as two:
            await two.leadership.looked.wait()
            assert not two.leads
            assert two.leadership.lease == Lease("one", "http://one", 1, two.leadership.lease.beat)


async def test_a_leader_that_stops_steps_down_first_and_another_leads_at_once(tmp_path, wait_until):
    async with campaigning(tmp_path, "two") as two, campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads or two.leads)
        first, second = (one, two) if one.leads else (two, one)
        await first.stop()
        assert first.done[-1] == ("step down", 1, True)  # while the lease was still its own
        assert first.line.calls[-1] == "release"
        await wait_until(lambda: second.leads)
        assert [one[:2] for one in second.done] == [("take up", 2)]


async def test_a_leader_that_is_cut_off_stops_by_its_own_clock_before_another_begins(tmp_path, wait_until):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        async with campaigning(tmp_path, "two") as two:
            two.rivals.append(one)
            one.line.cut = True
            await wait_until(lambda: two.leads and len(one.done) == 2)
            assert two.overlaps == 0
            assert two.done == [("take up", 2, True)]  # the first one may not know yet
            assert one.done[-1][0] == "step down"
            one.line.cut = False
            await wait_until(lambda: one.leadership.lease and one.leadership.lease.holder == "two")
            assert "release" not in one.line.calls


async def test_a_database_that_hangs_makes_nobody_lead_for_longer(tmp_path, wait_until):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        one.line.hangs = True
        await wait_until(lambda: not one.leadership.holds())
        await wait_until(lambda: one.done[-1][0] == "step down")


async def test_a_leader_that_was_paused_leads_again_only_under_a_new_epoch(tmp_path, wait_until):
    now = [0.0]
    async with campaigning(tmp_path, "one", clock=lambda: now[0]) as one:
        await wait_until(lambda: one.leads)
        now[0] += QUICK.ttl  # it was stopped for so long, and nobody else came
        assert not one.leadership.holds()
        await wait_until(lambda: one.leads)
        assert [(what, epoch) for what, epoch, _ in one.done] == [("take up", 1), ("step down", 1), ("take up", 2)]
        assert one.done[-1][2] is False


async def test_who_is_told_that_another_leads_steps_down(tmp_path, wait_until):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        other = Registry(f"sqlite:///{tmp_path}/registry.db")
        await other.open()
        async with asyncio.timeout(5):
            while await other.acquire("two", "http://two", 0.0) is None:  # until it is between two beats
                continue
        await wait_until(lambda: one.done[-1] == ("step down", 2, False))
        assert "release" not in one.line.calls
        await other.close()


async def test_who_can_do_nothing_does_not_campaign_and_gives_the_lease_up(tmp_path, wait_until):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        one.fit = False
        async with campaigning(tmp_path, "two") as two:
            await wait_until(lambda: two.leads)
            assert one.done[-1] == ("step down", 1, True)
            assert [done[:2] for done in two.done] == [("take up", 2)]
            looked = one.line.calls.count("acquire")
            one.fit = True
            await wait_until(lambda: one.line.calls.count("acquire") > looked)


async def test_who_cannot_begin_lets_another_try(tmp_path, wait_until, caplog):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        async with campaigning(tmp_path, "two") as two:
            two.error = RuntimeError("a fault")
            await one.stop()
            await wait_until(lambda: "leading could not be begun" in caplog.text)
            await wait_until(lambda: two.line.calls.count("release") >= 1)
            two.error = None
            await wait_until(lambda: two.leads)


async def test_beginning_too_late_is_no_fault(tmp_path, wait_until, caplog):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        async with campaigning(tmp_path, "two") as two:
            two.error = NotLeader("this Tron's epoch is over")
            await one.stop()
            await wait_until(lambda: two.leadership.holds())
            assert "could not be begun" not in caplog.text


async def test_a_registry_that_is_away_is_told_once_and_so_is_its_return(tmp_path, wait_until, caplog):
    caplog.set_level(logging.INFO)
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        known = one.leadership.lease
        one.line.cut = True
        await wait_until(lambda: one.done[-1][0] == "step down")
        looks = one.line.calls.count("leader")
        await wait_until(lambda: one.line.calls.count("leader") > looks + 3)
        assert one.leadership.trouble == "the Registry is out of reach"
        assert await one.leadership.find() is None  # what was seen last may be over by now
        assert known is not None
        one.line.cut = False
        await wait_until(lambda: one.leads)
        assert one.leadership.trouble == ""
    told = [record.getMessage() for record in caplog.records]
    assert sum("nothing can be changed" in line for line in told) == 1
    assert sum("answers again" in line for line in told) == 1


async def test_an_unexpected_error_of_a_look_does_not_end_the_campaign(tmp_path, wait_until, caplog, monkeypatch):
    async with campaigning(tmp_path, "one") as one:
        await wait_until(lambda: one.leads)
        async with campaigning(tmp_path, "two") as two:

            async def broken(*_: Any) -> None:
                raise RuntimeError("a fault")

            with monkeypatch.context() as patch:
                patch.setattr(two.line, "acquire", broken)
                await wait_until(lambda: "a look at who leads has failed" in caplog.text)
            await one.stop()
            await wait_until(lambda: two.leads)


@pytest.mark.parametrize("count", [5])
async def test_of_many_exactly_one_leads(tmp_path, wait_until, count):
    made = [campaigning(tmp_path, f"t{number}") for number in range(count)]
    candidates = [await one.__aenter__() for one in made]
    await wait_until(lambda: any(one.leads for one in candidates))
    await asyncio.gather(*(one.leadership.looked.wait() for one in candidates))
    assert sum(one.leads for one in candidates) == 1
    for one in made:
        await one.__aexit__(None, None, None)
