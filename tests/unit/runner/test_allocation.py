"""A Func does as the Tron that leads allots: so many hosts, messages where there are hosts, and none lost on a move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import BadBundle, HostError
from funcatron.hosts import Answer
from funcatron.message import control as messages
from funcatron.runner import allotment as allotment_module
from funcatron.runner import fleet as fleet_module
from funcatron.runner import pool as pool_module
from funcatron.runner.allotment import NOTHING, Allocation, Allotment, read
from funcatron.runner.deployment import Deployment
from funcatron.runner.fleet import Funcs
from funcatron.runner.func import AHEAD, Func
from funcatron.runner.pool import Pool
from tests.unit.runner.fakes import QUEUE, SHA, World, json_answer, until, world

ONE = Deployment(SHA, QUEUE)
WAKER = Allotment(0, waker=True)


def of(func: Func) -> Pool:
    """The pool of a Func that is awake."""
    assert func.pool is not None
    return func.pool


def takers(here: World) -> int:
    """How many consumers the func queue has."""
    return len(here.hub.queues[QUEUE].takers)


async def running(here: World, count: int, func: Func | None = None) -> None:
    """Wait until so many hosts take calls, and as many messages as they have slots are taken."""
    one = func or here.func
    await until(lambda: one.pool is not None and one.pool.size() == count)
    await until(lambda: one.prefetch == count * here.slots)


@pytest_asyncio.fixture
async def two(here: World) -> AsyncIterator[tuple[World, Func]]:
    """A Func that serves in two Runners."""
    broker = MemoryBroker(here.hub, "runner-2")
    await broker.connect()
    other = Func(ONE, here.make_tools("runner-2", broker))
    await other.serve()
    yield here, other
    await other.close(grace=0.0)
    await other.tools.outbox.settle()
    other.tools.deadlines.close()
    await broker.close()


async def test_as_many_hosts_run_as_are_allotted_without_a_message(here: World) -> None:
    here.func.allot(Allotment(3))
    await running(here, 3)
    assert len(here.hosts) == 3
    assert (await here.ask()).status == 200


async def test_no_call_starts_a_host_beyond_the_allotment(here: World) -> None:
    here.largest, here.reply = 8, None
    here.func.allot(Allotment(1))
    await running(here, 1)
    for _ in range(10):
        here.send()
    await here.call_at(0, here.slots)
    for now in range(100, 120):
        here.func.tick(now)
    await asyncio.sleep(0.02)
    assert len(here.hosts) == 1
    assert len(here.hub.queues[QUEUE].ready) == 10 - here.slots


async def test_idle_hosts_stay_while_they_are_allotted(here: World) -> None:
    here.func.allot(Allotment(2))
    await running(here, 2)
    here.func.tick(1e9)
    await asyncio.sleep(0.01)
    assert [host.ended for host in here.hosts] == [None, None]
    assert here.func.state == "awake"


async def test_nothing_is_taken_before_a_host_runs(here: World) -> None:
    here.func.allot(NOTHING)
    await until(lambda: takers(here) == 0)
    request = here.send()
    here.func.allot(Allotment(1))
    assert here.func.prefetch == 0
    assert (await here.reply_to(request)).status == 200


async def test_a_waker_starts_the_first_host_by_itself_and_keeps_it(here: World) -> None:
    here.func.allot(WAKER)
    await until(lambda: here.func.prefetch == AHEAD)
    assert here.loads == 0
    assert (await here.ask()).status == 200
    await running(here, 1)
    here.func.tick(1e9)
    await asyncio.sleep(0.01)
    assert [host.ended for host in here.hosts] == [None]


async def test_a_waker_is_not_told_to_stop_a_host_that_is_not_known_yet(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.func.allot(WAKER)
    await here.ask()
    here.func.allot(WAKER)
    assert of(here.func).size() == 1
    monkeypatch.setattr(pool_module, "FRESH", 0.0)
    here.func.allot(WAKER)
    await until(lambda: here.hosts[0].ended == "stopped")
    assert takers(here) == 1
    assert (await here.ask()).status == 200
    assert len(here.hosts) == 2


async def test_a_waker_never_gets_more_hosts_by_itself(here: World) -> None:
    here.reply, here.largest = None, 8
    here.func.allot(WAKER)
    for _ in range(12):
        here.send()
    await here.call_at(0, here.slots)
    for now in range(100, 120):
        here.func.tick(now)
    await asyncio.sleep(0.02)
    assert len(here.hosts) == 1


async def test_fewer_hosts_finish_their_calls_before_they_end(here: World) -> None:
    here.reply = None
    here.func.allot(Allotment(3))
    await running(here, 3)
    requests = [here.send() for _ in range(3)]
    for number in range(3):
        await here.call_at(number)
    here.func.allot(Allotment(1))
    await running(here, 1)
    assert [host.ended for host in here.hosts] == [None, None, None]
    assert len(of(here.func).leaving()) == 2
    for host in here.hosts:
        host.ok()
    for request in requests:
        assert (await here.reply_to(request)).status == 200
    await until(lambda: sorted(str(host.ended) for host in here.hosts) == ["None", "stopped", "stopped"])
    await until(lambda: here.tools.capacity.used == 1)


async def test_the_idle_hosts_go_first(here: World) -> None:
    here.reply = None
    here.func.allot(Allotment(3))
    await running(here, 3)
    here.send()
    busy = await here.call_at(0)
    here.func.allot(Allotment(1))
    await until(lambda: [host.ended for host in here.hosts].count("stopped") == 2)
    assert busy.ended is None
    busy.ok()


async def test_a_func_that_moves_away_finishes_what_was_begun_and_gives_the_rest_back(two: tuple[World, Func]) -> None:
    here, other = two
    other.allot(NOTHING)
    here.func.allot(Allotment(1))
    await running(here, 1)
    here.reply = None
    here.hosts[0].reply = None
    begun = [here.send() for _ in range(here.slots)]
    host = await here.call_at(0, here.slots)
    waiting = here.send()
    here.reply = lambda frame, body: json_answer("other")
    here.func.allot(NOTHING)
    other.allot(Allotment(1))
    assert (await here.reply_to(waiting)).body == b'"other"'
    for _ in begun:
        host.ok("first")
    for request in begun:
        assert (await here.reply_to(request)).body == b'"first"'
    await until(lambda: host.ended == "stopped")
    await here.quiet()
    assert takers(here) == 1
    assert all(len(found) == 1 for found in here.replies.values())


async def test_what_waits_for_a_host_goes_back_unapplied_when_its_func_moves_away(two: tuple[World, Func]) -> None:
    here, other = two
    other.allot(NOTHING)
    here.func.allot(WAKER)
    await until(lambda: takers(here) == 1)
    here.start_errors = [HostError("no room")] * 50
    requests = [here.send("/pets/pets", "POST", body={}) for _ in range(3)]
    await until(lambda: here.func.waiting() == 3)
    here.func.allot(NOTHING)
    here.start_errors = []
    other.allot(Allotment(1))
    for request in requests:
        assert (await here.reply_to(request)).status == 200
    await here.quiet()
    frames = [frame for host in here.hosts for frame in host.seen]
    assert len(frames) == 3
    assert here.func.in_flight() == 0
    assert here.func.stats.received == here.func.stats.returned


async def test_no_message_is_lost_or_applied_twice_while_a_func_moves_to_and_fro(two: tuple[World, Func]) -> None:
    here, other = two
    here.reply = None
    funcs = (here.func, other)
    sent: list[str] = []

    async def answer() -> None:
        while True:
            for host in here.hosts:
                for number in list(host.calls):
                    host.answer(number, json_answer())
            await asyncio.sleep(0.001)

    answering = asyncio.create_task(answer())
    for step in range(40):
        funcs[step % 2].allot(NOTHING)
        funcs[1 - step % 2].allot(Allotment(1 + step % 3) if step % 4 else WAKER)
        sent += [here.send("/pets/pets", "POST", body={"n": step}) for _ in range(5)]
        await asyncio.sleep(0.002)
    for request in sent:
        assert (await here.reply_to(request)).status == 200
    answering.cancel()
    await here.quiet()
    assert all(len(here.replies[request]) == 1 for request in sent)
    ids = [frame["context"]["request-id"] for host in here.hosts for frame in host.seen]
    assert sorted(ids) == sorted(sent)


async def test_a_host_that_dies_is_replaced_and_the_rest_serve(here: World) -> None:
    here.func.allot(Allotment(2))
    await running(here, 2)
    here.hosts[0].kill()
    await until(lambda: len(here.hosts) == 3)
    await running(here, 2)
    assert (await here.ask()).status == 200


async def test_a_func_that_is_parked_leaves_the_queue_to_others(here: World) -> None:
    here.start_errors = [HostError("no memory")] * 50
    here.func.allot(Allotment(2))
    await until(lambda: here.func.pool is not None)
    while not of(here.func).parked():
        of(here.func).crashes.record(time.monotonic(), "it does not start: no memory")
    request = here.send()
    here.func.tick(time.monotonic())
    await asyncio.sleep(0.02)
    assert takers(here) == 0
    assert here.func.report()["state"] == "crashing"
    assert here.func.report()["reason"] == "it does not start: no memory"
    of(here.func).crashes.recovered()
    here.start_errors = []
    of(here.func).want(0)
    here.func.allot(Allotment(2))
    assert (await here.reply_to(request)).status == 200


async def test_a_parked_func_that_is_to_wake_says_at_once_that_it_cannot(here: World) -> None:
    here.func.allot(Allotment(1, waker=True))
    await running(here, 1)
    here.start_errors = [HostError("no memory")] * 50
    here.hosts[0].kill()
    while not of(here.func).crashes.hopeless(time.monotonic()):
        of(here.func).crashes.record(time.monotonic(), "it does not start: no memory")
    assert (await here.ask()).status == 502


async def test_starts_go_one_by_one_while_hosts_die_without_an_answer(here: World) -> None:
    here.start_errors = [HostError("broken")] * 4
    here.func.allot(Allotment(4))
    await until(lambda: here.func.pool is not None and of(here.func).crashes.total == 4)
    await until(lambda: of(here.func).starting() == 1)
    here.func.tick(time.monotonic())
    assert of(here.func).starting() == 1
    await running(here, 4)


async def test_a_bundle_that_cannot_be_loaded_says_why_and_is_tried_again(here: World) -> None:
    here.func.allot(NOTHING)
    here.load_error = BadBundle("it is damaged")
    here.func.allot(Allotment(1))
    await until(lambda: here.func.report().get("reason"))
    assert here.func.report()["reason"] == "it cannot be loaded: it is damaged"
    here.load_error = None
    here.func.failures.retry_at = 0.0
    here.func.tick(time.monotonic())
    await running(here, 1)
    assert "reason" not in here.func.report()


async def test_a_func_goes_by_its_own_judgement_again_when_nobody_leads(here: World) -> None:
    here.func.allot(NOTHING)
    await until(lambda: takers(here) == 0)
    request = here.send()
    here.func.allot(None)
    assert (await here.reply_to(request)).status == 200
    of(here.func).tick(1e9, 0.0)
    await until(lambda: here.hosts[0].ended == "stopped")


async def test_a_func_that_is_to_have_no_host_falls_asleep(here: World) -> None:
    here.func.allot(Allotment(1))
    await running(here, 1)
    here.func.allot(NOTHING)
    await until(lambda: here.hosts[0].ended == "stopped")
    here.func.tick(time.monotonic())
    assert here.func.state == "asleep"


async def test_no_host_is_started_while_memory_is_short_and_less_is_taken(here: World) -> None:
    here.func.allot(Allotment(1))
    await running(here, 1)
    here.tools.capacity.note_memory(short=True)
    here.func.allot(Allotment(3))
    here.func.tick(time.monotonic())
    await until(lambda: here.func.prefetch == here.slots // 2)
    assert len(here.hosts) == 1
    here.tools.capacity.note_memory(short=False)
    here.func.tick(time.monotonic())
    await running(here, 3)


async def test_a_first_host_waits_for_memory_and_its_call_is_not_lost(here: World) -> None:
    here.tools.capacity.note_memory(short=True)
    here.func.allot(WAKER)
    request = here.send()
    await until(lambda: here.func.waiting() == 1)
    await asyncio.sleep(0.02)
    assert here.hosts == []
    here.tools.capacity.note_memory(short=False)
    assert (await here.reply_to(request)).status == 200


async def test_an_orphan_that_goes_back_is_applied_when_its_message_comes_again(two: tuple[World, Func]) -> None:
    here, other = two
    other.allot(NOTHING)
    here.watch(here.func)
    here.func.allot(WAKER)
    await until(lambda: takers(here) == 1)
    here.start_errors = [HostError("no room")] * 50
    request = here.send("/pets/pets", "POST", body={})
    await until(lambda: of(here.func).waiting if here.func.pool else None)
    here.broker.cut()
    here.func.allot(NOTHING)
    here.start_errors = []
    here.func.allot(Allotment(1))
    assert (await here.reply_to(request)).status == 200
    await here.quiet()
    assert len(here.replies[request]) == 1


# ---------------------------------------------------------------------- of a whole Runner


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, Funcs]]:
    """A Runner that serves nothing yet."""
    async with world(tmp_path, monkeypatch) as here:
        funcs = Funcs(here.tools)
        yield here, funcs
        await funcs.close(grace=0.0)


async def test_an_allocation_is_the_whole_of_what_runs(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.reconcile([ONE])
    await until(lambda: takers(here) == 1)
    funcs.allocate({QUEUE: Allotment(2)})
    await running(here, 2, funcs.serving[QUEUE])
    funcs.allocate({})
    await until(lambda: takers(here) == 0)
    await until(lambda: [host.ended for host in here.hosts] == ["stopped", "stopped"])


async def test_what_comes_later_finds_its_share_already_told(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    funcs.allocate({})
    await funcs.reconcile([ONE])
    request = here.send()
    await asyncio.sleep(0.02)
    assert takers(here) == 0
    funcs.allocate({QUEUE: Allotment(1)})
    assert (await here.reply_to(request)).status == 200


async def test_what_was_enabled_a_moment_ago_serves_until_its_share_is_told(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    funcs.allocate({})
    await funcs.enable(ONE)
    assert (await here.ask()).status == 200
    funcs.allocate({})
    await until(lambda: takers(here) == 0)


async def test_a_share_that_is_known_holds_for_what_is_enabled(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    funcs.allocate({QUEUE: Allotment(3)})
    await funcs.enable(ONE)
    await running(here, 3, funcs.serving[QUEUE])


async def test_what_drains_where_nothing_is_taken_is_gone_at_once(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.reconcile([ONE])
    funcs.allocate({})
    await until(lambda: takers(here) == 0)
    here.send()
    assert await asyncio.wait_for(funcs.disable(SHA, QUEUE, drain=True), 3)
    assert len(here.hub.queues[QUEUE].ready) == 1


async def test_what_drains_is_worked_off_whatever_is_told_meanwhile(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    here.reply = None
    await funcs.enable(ONE)
    funcs.allocate({QUEUE: Allotment(1)})
    requests = [here.send() for _ in range(here.slots + 2)]
    host = await here.call_at(0, here.slots)
    disabling = asyncio.create_task(funcs.disable(SHA, QUEUE, drain=True))
    await until(lambda: funcs.leaving)
    funcs.allocate({})
    host.reply = lambda frame, body: json_answer()
    while host.calls:
        host.ok()
    for request in requests:
        assert (await here.reply_to(request)).status == 200
    await disabling


async def test_a_runner_that_hears_of_no_leader_for_long_goes_by_its_own_judgement(
    fleet: tuple[World, Funcs], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, funcs = fleet
    await funcs.reconcile([ONE])
    funcs.allocate({})
    await until(lambda: takers(here) == 0)
    funcs.tick()
    assert takers(here) == 0
    monkeypatch.setattr(allotment_module, "ALONE", 0.0)
    funcs.tick()
    assert (await here.ask()).status == 200


async def test_a_tick_notices_that_memory_is_short(
    fleet: tuple[World, Funcs], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    here, funcs = fleet
    monkeypatch.setattr(fleet_module, "short_of_memory", lambda kept: True)
    funcs.tick()
    assert here.tools.capacity.short
    assert "memory is short" in caplog.text


async def test_more_or_fewer_hosts_are_news(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    told: list[int] = []
    funcs.news = lambda: told.append(1)
    await funcs.reconcile([ONE])
    await here.ask()
    assert told


def test_an_allocation_is_read_as_the_message_has_it() -> None:
    message = messages.allocate(
        "tron", [{"queue": "a", "instances": 3}, {"queue": "b", "instances": 0, "waker": True}], epoch=7
    )
    assert read(message) == {"a": Allotment(3), "b": Allotment(0, waker=True)}


def test_an_allocation_holds_for_a_minute() -> None:
    allocation = Allocation()
    assert allocation.of("a") is None
    allocation.take({"a": Allotment(1)}, 100.0)
    assert (allocation.of("a"), allocation.of("b"), allocation.of_new("b")) == (Allotment(1), NOTHING, None)
    assert not allocation.expire(159.0)
    assert allocation.expire(160.0)
    assert allocation.of("a") is None
    assert not allocation.expire(161.0)


async def test_a_failed_call_is_no_reason_to_lose_its_host(here: World) -> None:
    here.reply = lambda frame, body: Answer(500, failed=True)
    here.func.allot(Allotment(1))
    await running(here, 1)
    assert (await here.ask()).status == 500
    assert here.hosts[0].ended is None
