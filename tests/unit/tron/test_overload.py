"""When callers of a Func are told to come again later, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from funcatron.tron.overload import LONGEST_RETRY, UNKNOWN_RETRY, Limit, drained, limit_of, retry_after
from funcatron.tron.scaling import FuncDecision, FuncPolicy, FuncSnapshot, Need, Reason, ServiceTime
from funcatron.tron.traits import Traits

QUEUE = "func.n.1"
TRAITS = Traits(QUEUE, "n", "1", FuncPolicy(), slots=4)


def decided(instances: int, *, placed: int | None = None, service: float | None = 0.5, **more: Any) -> FuncDecision:
    """A decision for a Func of four slots."""
    time = None if service is None else ServiceTime(service)
    func = FuncSnapshot(QUEUE, "n", slots=4, service_time=time, **more)
    return FuncDecision(func, Need(instances, Reason.LOAD), instances, placed)


def test_a_queue_may_hold_what_is_drained_within_the_time_of_a_request() -> None:
    assert limit_of(TRAITS, decided(2), 60.0) == Limit(960, 16.0)


def test_only_instances_that_found_room_drain() -> None:
    assert drained(decided(4, placed=1)) == 8.0
    assert drained(decided(4, placed=0)) is None


def test_nothing_is_limited_while_it_is_not_known_how_fast_it_is_drained() -> None:
    assert limit_of(TRAITS, decided(2, service=None), 60.0) is None
    assert limit_of(TRAITS, decided(0), 60.0) is None


def test_the_owners_limit_holds_whatever_is_drained() -> None:
    traits = replace(TRAITS, queue_limit=5)
    assert limit_of(traits, decided(2, service=None), 60.0) == Limit(5, None)
    assert limit_of(traits, decided(2), 60.0) == Limit(5, 16.0)


def test_slow_calls_leave_room_for_the_slots_at_least() -> None:
    found = limit_of(TRAITS, decided(1, service=1000.0), 1.0)
    assert found is not None
    assert found.messages == 4


def test_callers_are_told_when_the_queue_will_have_room_again() -> None:
    limit = Limit(100, 10.0)
    assert retry_after(limit, 100, None) is None
    assert retry_after(limit, 101, None) == 3
    assert retry_after(limit, 280, None) == 20
    assert retry_after(limit, 100_000, None) == LONGEST_RETRY
    assert retry_after(Limit(100, None), 101, None) == UNKNOWN_RETRY


def test_callers_are_let_in_again_a_little_below_the_limit() -> None:
    limit = Limit(100, 10.0)
    assert retry_after(limit, 90, 3) == 1
    assert retry_after(limit, 80, 3) is None


def test_a_little_more_or_less_is_not_told() -> None:
    limit = Limit(100, 10.0)
    assert retry_after(limit, 180, 8) == 8
    assert retry_after(limit, 280, 8) == 20


def test_an_unknown_depth_changes_nothing() -> None:
    assert retry_after(Limit(100, 10.0), None, None) is None
    assert retry_after(Limit(100, 10.0), None, 7) == 7
