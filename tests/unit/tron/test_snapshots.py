"""What the policy decides by: of what is known, nothing twice, and nothing that is not."""

from __future__ import annotations

from typing import Any

import pytest

from funcatron.settings import Settings
from funcatron.tron.scaling import Basis, FuncPolicy, ServiceTime, Snapshot, Totals
from funcatron.tron.scaling.snapshot import HOST_BYTES
from funcatron.tron.snapshots import Sight, cores, place, service_time, snapshot, wake
from funcatron.tron.statistics import FuncFigures, Picture, RunnerFigures, Spread
from funcatron.tron.traits import Traits

Q = "func.a.1"
GIB = 2**30


def runner(name: str = "r1", **figures: Any) -> RunnerFigures:
    """A Runner on a machine of 4 cores and 16 GiB, half of it free."""
    known: dict[str, Any] = {
        "age": 0.5,
        "silent": False,
        "cores": 4.0,
        "cores_used": 1.0,
        "memory": 16 * GIB,
        "memory_available": 8 * GIB,
        "hosts_limit": 8,
        "complete": True,
    }
    return RunnerFigures(name, **(known | figures))


def seen(
    figures: FuncFigures | None = None,
    runners: list[RunnerFigures] | None = None,
    expected: dict[str, dict[str, int]] | None = None,
    **more: Any,
) -> Sight:
    """What is known of one Func; each Runner is on a machine of its own unless `machines` says otherwise."""
    there = {one.id: one for one in runners or [runner()]}
    known: dict[str, Any] = {
        "traits": {Q: Traits(Q, "a", "1", FuncPolicy(), slots=4, cores=1.0)},
        "expected": expected or {name: dict(one.hosts) for name, one in there.items()},
        "machines": {name: name for name in there},
    }
    picture = Picture(100.0, {Q: figures} if figures else {}, there)
    return Sight(picture, **(known | more))


def of(sight: Sight, **settings: Any) -> Snapshot:
    return snapshot(sight, Totals(), Settings(**settings), 1.0)


def test_what_is_not_known_stays_unknown() -> None:
    (func,) = of(seen()).funcs
    assert (func.arrival_rate, func.service_time, func.ready, func.unacked, func.in_flight) == (None,) * 5
    assert (func.running, func.starting, func.slots, func.start_up, func.idle) == (0, 0, 4, None, None)


def test_the_rate_of_the_last_second_counts_more_than_that_of_the_last_ten() -> None:
    assert of(seen(FuncFigures(Q, arriving=50.0, arrival_rate=7.0))).funcs[0].arrival_rate == 50.0
    assert of(seen(FuncFigures(Q, arrival_rate=7.0))).funcs[0].arrival_rate == 7.0


def test_messages_that_are_held_for_later_do_not_wait() -> None:
    (func,) = of(seen(FuncFigures(Q, ready=3, in_flight=20, waiting=2, at_hosts=5))).funcs
    assert (func.unacked, func.in_flight, func.waiting) == (7, 5, 5)


def test_instances_that_are_told_and_not_there_yet_are_on_their_way() -> None:
    sight = seen(FuncFigures(Q, running=2), [runner(), runner("r2")], {"r1": {Q: 3}, "r2": {Q: 1}})
    (func,) = of(sight).funcs
    assert (func.running, func.starting) == (2, 2)


def test_instances_that_shall_go_are_gone() -> None:
    (func,) = of(seen(FuncFigures(Q, running=5), expected={"r1": {Q: 2}})).funcs
    assert (func.running, func.starting) == (2, 0)


def test_instances_of_a_silent_runner_do_not_count() -> None:
    sight = seen(FuncFigures(Q, running=1), [runner(), runner("r2", silent=True)], {"r1": {Q: 1}, "r2": {Q: 4}})
    found = of(sight)
    assert found.funcs[0].instances == 1
    assert [one.takes_hosts() for one in found.runners] == [True, False]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"service": Spread(5, 0.2), "service_ever": 0.9}, ServiceTime(0.2)),
        ({"service_ever": 0.9}, ServiceTime(0.9, Basis.REMEMBERED)),
        ({"at_hosts": 2, "oldest_call": 7.0}, ServiceTime(7.0, Basis.AT_LEAST)),
        ({"at_hosts": 0, "oldest_call": 7.0}, None),
        ({}, None),
    ],
)
def test_the_best_that_is_known_of_how_long_calls_take(figures: dict[str, Any], expected: ServiceTime | None) -> None:
    assert service_time(FuncFigures(Q, **figures)) == expected


def test_the_version_before_stands_in_for_what_is_not_known_of_a_new_one() -> None:
    sight = seen(FuncFigures(Q, ready=0), stand_ins={Q: "old"})
    before = FuncFigures("old", service=Spread(20, 0.3), start_up=0.7, cpu_per_call=0.01)
    sight.picture.funcs["old"] = before  # type: ignore[index]
    (func,) = of(sight).funcs
    assert func.service_time == ServiceTime(0.3)
    assert (func.start_up, func.cpu_per_call) == (0.7, 0.01)


def test_the_cpu_time_of_few_calls_is_mostly_that_of_starting_their_hosts() -> None:
    assert of(seen(FuncFigures(Q, service=Spread(19, 0.3), cpu_per_call=0.5))).funcs[0].cpu_per_call is None
    assert of(seen(FuncFigures(Q, service=Spread(20, 0.3), cpu_per_call=0.5))).funcs[0].cpu_per_call == 0.5


def test_an_instance_is_given_room_for_what_it_has_but_no_less_than_a_place() -> None:
    assert place(None) == place(FuncFigures(Q, rss=1)) == HOST_BYTES
    assert place(FuncFigures(Q, rss=3 * HOST_BYTES)) == 3 * HOST_BYTES


def test_a_runners_room_is_what_its_places_leave() -> None:
    found = of(seen(FuncFigures(Q), [runner(hosts={Q: 3})])).runners[0]
    assert (found.memory_total, found.memory_free) == (8 * HOST_BYTES, 5 * HOST_BYTES)


def test_it_is_no_more_than_its_machine_has_left() -> None:
    settings = {"memory_reserve": GIB}
    little = runner(memory_available=GIB + 3 * HOST_BYTES, hosts={Q: 1})
    assert of(seen(FuncFigures(Q), [little]), **settings).runners[0].memory_free == 3 * HOST_BYTES
    coming = seen(FuncFigures(Q), [little], {"r1": {Q: 3}})
    assert of(coming, **settings).runners[0].memory_free == HOST_BYTES
    none = seen(FuncFigures(Q), [runner(memory_available=GIB // 2)])
    assert of(none, **settings).runners[0].memory_free == 0


def test_a_runner_that_says_that_memory_is_short_gets_nothing() -> None:
    assert of(seen(FuncFigures(Q), [runner(short=True)])).runners[0].memory_free == 0


def test_memory_that_is_not_known_is_not_free() -> None:
    assert of(seen(FuncFigures(Q), [runner(memory_available=None)])).runners[0].memory_free is None


def test_runners_on_one_machine_share_its_memory_and_cores() -> None:
    two = [runner(), runner("r2", cores_used=2.0)]
    sight = seen(FuncFigures(Q), two, machines={"r1": "m", "r2": "m"})
    found = of(sight, memory_reserve=0).runners
    assert [one.cores_total for one in found] == [2.0, 2.0]
    assert [one.cores_free for one in found] == [0.5, 0.5]
    assert cores(sight) == 4.0


def test_a_machine_is_shared_by_those_that_may_come_as_well() -> None:
    sight = seen(FuncFigures(Q), [runner()], machines={"r1": "m"}, sharing={"m": 4})
    assert of(sight).runners[0].cores_total == 1.0


def test_cores_are_unknown_if_one_machines_are() -> None:
    assert cores(seen(None, [runner(), runner("r2", cores=None)])) is None
    assert cores(seen(None, [runner(), runner("r2")])) == 8.0


def test_runners_that_shall_go_get_nothing() -> None:
    assert not of(seen(FuncFigures(Q), draining={"r1"})).runners[0].takes_hosts()


def test_the_host_that_a_waker_starts_counts_as_soon_as_messages_wait() -> None:
    waiting = Picture(0.0, {Q: FuncFigures(Q, ready=1)}, {"r1": runner(), "r2": runner("r2", short=True)})
    quiet = Picture(0.0, {Q: FuncFigures(Q, ready=0, in_flight=0)}, waiting.runners)
    taken = Picture(0.0, {Q: FuncFigures(Q, ready=0, in_flight=1)}, waiting.runners)
    nothing: dict[str, dict[str, int]] = {"r1": {}, "r2": {}}
    assert wake(nothing, {Q: "r1"}, waiting, ()) == {"r1": {Q: 1}, "r2": {}}
    assert wake(nothing, {Q: "r1"}, taken, ()) == {"r1": {Q: 1}, "r2": {}}
    assert wake(nothing, {Q: "r1"}, quiet, ()) == nothing
    assert wake(nothing, {Q: "r1"}, waiting, {Q}) == nothing
    assert wake(nothing, {Q: "r2"}, waiting, ()) == nothing
    assert wake(nothing, {Q: "gone"}, waiting, ()) == nothing
    assert wake({"r1": {}, "r2": {Q: 1}}, {Q: "r1"}, waiting, ()) == {"r1": {}, "r2": {Q: 1}}
