"""What a Func counts: on the hot path nearly nothing, once a second everything."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from funcatron.hosts import Answer
from funcatron.message.histogram import quantiles
from funcatron.runner import stats as stats_module
from funcatron.runner.stats import Stats
from tests.unit.runner.fakes import World, json_answer, until

NOW = 1_800_000_000.0
SENT = int(NOW * 1000)


def call(**more: Any) -> Any:
    """Stands for a Call."""
    return SimpleNamespace(**{"attempt": 1, "seat": object(), "tries": 1, "started": 0.0, "settled": False} | more)


def folded(stats: Stats) -> Stats:
    for _ in stats.fold():
        pass
    return stats


def middle(stats: Stats) -> float:
    return quantiles(stats.wait.bins, (0.5,))[0]


def test_a_wait_is_from_when_the_message_was_sent() -> None:
    stats = Stats()
    stats.handed(call(), NOW + 0.25, SENT)
    assert stats.wait.count == 0, "nothing is counted on the hot path"
    folded(stats)
    assert (stats.wait.count, stats.wait.seconds) == (1, pytest.approx(0.25))
    assert middle(stats) == pytest.approx(0.25, rel=0.02)


def test_a_wait_that_comes_out_negative_is_none_and_is_counted() -> None:
    stats = Stats()
    for ahead in (3.0, 0.002):
        stats.handed(call(), NOW - ahead, SENT)
    stats.handed(call(), NOW, SENT)
    folded(stats)
    assert (stats.skewed, stats.wait.count, stats.wait.seconds) == (2, 3, 0.0)


@pytest.mark.parametrize("at", [None, "1800000000000", 1.5, True, [1]])
def test_a_message_that_does_not_say_when_it_was_sent_has_no_wait(at: Any) -> None:
    stats = Stats()
    stats.handed(call(), NOW, at)
    assert folded(stats).wait.count == 0


def test_a_message_that_was_tried_before_has_no_wait_of_its_own() -> None:
    stats = Stats()
    stats.handed(call(attempt=2), NOW + 60, SENT)
    assert folded(stats).wait.count == 0


def test_a_call_that_waits_for_a_host_is_counted_once_it_has_one() -> None:
    stats, waiting = Stats(), call(seat=None, tries=0)
    stats.handed(waiting, NOW + 1.0, SENT)
    assert folded(stats).wait.count == 0
    assert stats.oldest_wait() == pytest.approx(1.0, abs=0.5)
    waiting.tries, waiting.started = 1, time.monotonic() + 4.0
    folded(stats)
    assert (stats.wait.count, stats.late, stats.oldest_wait()) == (1, [], None)
    assert stats.wait.seconds == pytest.approx(5.0, abs=0.5)


def test_a_call_that_was_given_up_before_it_had_a_host_has_waited_as_well() -> None:
    stats, waiting = Stats(), call(seat=None, tries=0)
    stats.handed(waiting, NOW + 2.0, SENT)
    waiting.settled = True
    folded(stats)
    assert (stats.wait.count, stats.late) == (1, [])
    assert stats.wait.seconds >= 2.0


def test_counting_lets_the_loop_go_on_and_what_is_left_is_counted_the_next_time() -> None:
    stats = Stats()
    stats.services += [0.5] * (3 * stats_module.CHUNK)
    steps = stats.fold()
    next(steps)
    steps.close()
    assert stats.service.count == stats_module.CHUNK
    folded(stats)
    assert stats.service.count == 3 * stats_module.CHUNK
    assert stats.service.seconds == pytest.approx(1.5 * stats_module.CHUNK)


def test_what_is_0_is_left_out_of_the_totals() -> None:
    stats = Stats()
    assert stats.totals() == {}
    stats.received, stats.answered[2] = 3, 2
    stats.rejected(404)
    stats.rejected(307)
    assert stats.totals() == {"arrivals": 3, "answered": {"2xx": 2}, "errors": {"status-404": 1}}


# what a Func that serves counts


def kinds(here: World) -> dict[str, int]:
    return dict(here.func.stats.errors)


async def test_each_message_is_timed(here: World) -> None:
    await here.ask()
    await here.ask()
    stats = folded(here.func.stats)
    assert (stats.service.count, stats.wait.count, stats.received) == (2, 2, 2)
    assert 0 < stats.service.seconds < 5
    assert here.func.report()["stats"]["seconds"] == round(stats.service.seconds, 3)


async def test_the_first_message_waits_for_its_host(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    load = here.load

    async def slowly(*args: Any) -> Any:
        await gate.wait()
        return await load(*args)

    monkeypatch.setattr("funcatron.runner.func.load", slowly)
    asked = asyncio.ensure_future(here.ask())
    await until(lambda: here.func.state == "waking")
    assert here.func.waiting() == 1
    await asyncio.sleep(0.05)
    gate.set()
    await asked
    assert folded(here.func.stats).wait.seconds >= 0.05
    assert here.func.waiting() == 0


async def test_what_the_func_refuses_is_counted_by_status(here: World) -> None:
    for target in ("/pets/nowhere", "/pets/greet"):
        await here.ask(target)
    await here.ask("/pets/greet?name=a", "PATCH")
    assert kinds(here) == {"status-404": 1, "status-400": 1, "status-405": 1}


async def test_a_func_that_raises_is_counted(here: World) -> None:
    here.reply = lambda *_: Answer(500, failed=True)
    await here.ask()
    assert kinds(here) == {"failed": 1}


async def test_a_call_over_its_time_is_counted_with_the_time_that_it_took(here: World) -> None:
    here.reply = lambda *_: None
    reply = await here.ask("/pets/slow")
    assert reply.status == 504
    stats = folded(here.func.stats)
    assert kinds(here) == {"timed-out": 1}
    assert (stats.service.count, stats.calls) == (1, 0)
    assert stats.service.seconds == pytest.approx(0.1, abs=0.08)


async def test_a_host_that_dies_is_counted(here: World) -> None:
    here.reply = lambda *_: None
    asked = asyncio.ensure_future(here.ask("/pets/pets", "POST", body={}))
    (await here.call_at()).kill()
    assert (await asked).status == 502
    assert kinds(here) == {"host-died": 1}
    assert folded(here.func.stats).service.count == 1


async def test_a_message_that_nobody_waits_for_any_more_is_counted(here: World) -> None:
    here.send(left=-1.0)
    await until(lambda: here.func.stats.discarded == 1)
    assert kinds(here) == {"expired": 1}


async def test_what_cannot_be_decoded_and_is_answered_is_in_both(here: World) -> None:
    here.raw(b"{", reply_to="replies", correlation_id="r")
    here.raw(b"{")
    await until(lambda: len(here.dead) == 2)
    stats = here.func.stats
    assert kinds(here) == {"undecodable": 2}
    assert (stats.answered[4], stats.dead_lettered, stats.both) == (1, 2, 1)


async def test_every_message_is_accounted_for(here: World) -> None:
    here.reply = lambda frame, _: Answer(500, failed=True) if frame["operation"] == "app.put" else json_answer()
    for target, method in (("/pets/greet?name=a", "GET"), ("/pets/nowhere", "GET"), ("/pets/pets", "PUT")):
        await here.ask(target, method)
    here.send(waits=False)
    here.send(left=-1.0)
    here.raw(b"{", reply_to="replies", correlation_id="r")
    stats = here.func.stats
    await until(lambda: stats.received == 6 and here.func.in_flight() == 0)
    ended = sum(stats.answered) + stats.discarded + stats.dead_lettered - stats.both + stats.returned
    assert ended == stats.received
