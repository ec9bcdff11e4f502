"""Which Runner runs what."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st

from funcatron.tron.scaling.placement import Asked, Placement, place
from funcatron.tron.scaling.snapshot import SILENT, RunnerSnapshot
from tests.unit.tron.scaling.worlds import GB, MB, given


def asked(name: str, count: int, size: int = 100 * MB, **more: object) -> Asked:
    """Return what is asked for one Func, which has work."""
    return Asked(name, count, size, **{"work": True, **more})  # type: ignore[arg-type]


def runner(name: str, hosts: dict[str, int] | None = None, free: int | None = GB, **more: object) -> RunnerSnapshot:
    """Return a Runner of 2 GB."""
    known: dict[str, object] = {"memory_total": 2 * GB, "cores_free": 2.0, "cores_total": 4.0}
    return RunnerSnapshot(name, hosts or {}, free, **(known | more))  # type: ignore[arg-type]


def total(placement: Placement, queue: str) -> int:
    """Return how many instances of a Func run."""
    return sum(hosts.get(queue, 0) for hosts in placement.hosts.values())


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Asked], list[RunnerSnapshot]]:
    """Return what is asked for, and Runners on which something runs."""
    names = [f"f{n}" for n in range(draw(st.integers(0, 8)))]
    wanted = [
        Asked(
            name,
            count := draw(st.integers(0, 12)),
            draw(st.integers(10, 400)) * MB,
            draw(st.floats(0, 2)),
            draw(st.booleans()),
            count == 0 and draw(st.booleans()),
        )
        for name in names
    ]
    runners = [
        RunnerSnapshot(
            f"r{n}",
            draw(st.dictionaries(st.sampled_from([*names, "gone"]), st.integers(1, 5))),
            draw(st.none() | st.integers(0, 2 * GB)),
            draw(st.none() | st.just(2 * GB)),
            draw(st.none() | st.floats(0, 4)),
            draw(st.none() | st.just(4.0)),
            draw(st.integers(0, GB)),
            draw(st.none() | st.integers(0, 50)),
            draw(st.sampled_from((False, False, False, True))),
            draw(st.sampled_from((0.0, 1.0, SILENT + 1, None))),
        )
        for n in range(draw(st.integers(0, 6)))
    ]
    return wanted, runners


def test_what_runs_stays_where_it_is() -> None:
    runners = [runner("r1", {"a": 3}), runner("r2", {"a": 1, "b": 2})]
    placement = place([asked("a", 4), asked("b", 2)], runners, {})
    assert placement.hosts == {"r1": {"a": 3}, "r2": {"a": 1, "b": 2}}
    assert (placement.starts, placement.stops) == (0, 0)


def test_more_go_where_there_is_most_room_and_apart() -> None:
    runners = [runner("r1", free=GB // 2), runner("r2"), runner("r3", {"a": 1})]
    assert place([asked("a", 2)], runners, {}).hosts == {"r1": {}, "r2": {"a": 1}, "r3": {"a": 1}}


def test_cores_count_as_room_as_well() -> None:
    runners = [runner("r1", cores_free=0.1), runner("r2", cores_free=3.9)]
    assert place([asked("a", 1)], runners, {}).hosts == {"r1": {}, "r2": {"a": 1}}


def test_unknown_cores_are_not_none() -> None:
    runners = [runner("r1", free=GB // 2), runner("r2", cores_free=None), runner("r3", free=GB // 4, cores_total=None)]
    assert place([asked("a", 1)], runners, {}).hosts == {"r1": {}, "r2": {"a": 1}, "r3": {}}


def test_too_many_go_from_where_most_are() -> None:
    runners = [runner("r1", {"a": 4}), runner("r2", {"a": 2})]
    assert place([asked("a", 3)], runners, {}).hosts == {"r1": {"a": 2}, "r2": {"a": 1}}


def test_a_func_that_is_gone_keeps_no_hosts() -> None:
    assert place([asked("a", 1)], [runner("r1", {"a": 1, "old": 3})], {}).hosts == {"r1": {"a": 1}}


def test_draining_and_silent_runners_get_none_and_theirs_go_elsewhere() -> None:
    runners = [
        runner("r1", {"a": 2}, draining=True),
        runner("r2", {"a": 1}, heard=SILENT + 1),
        runner("r3", {"a": 1}, heard=None),
        runner("r4"),
    ]
    placement = place([asked("a", 3)], runners, {})
    assert placement.hosts == {"r4": {"a": 3}}


def test_a_runner_whose_memory_is_unknown_keeps_what_it_has_and_gets_no_more() -> None:
    placement = place([asked("a", 3)], [runner("r1", {"a": 1}, free=None)], {})
    assert placement.hosts == {"r1": {"a": 1}}
    assert placement.unplaced == {"a": 2}


def test_first_instances_come_before_second_ones() -> None:
    wanted = [asked("a", 5), asked("b", 1), asked("c", 1)]
    placement = place(wanted, [runner("r1", free=300 * MB)], {})
    assert placement.hosts == {"r1": {"a": 1, "b": 1, "c": 1}}
    assert placement.unplaced == {"a": 4}


def test_room_that_ends_ends_for_all_alike() -> None:
    placement = place([asked("a", 9), asked("b", 9)], [runner("r1", free=600 * MB)], {})
    assert placement.hosts == {"r1": {"a": 3, "b": 3}}


def test_a_first_instance_takes_the_room_of_second_ones_once_they_are_gone() -> None:
    wanted = [asked("a", 5), asked("b", 1)]
    full = place(wanted, [runner("r1", {"a": 5}, free=20 * MB)], {})
    assert full.hosts == {"r1": {"a": 4}}
    assert full.unplaced == {"a": 1, "b": 1}
    leaving = place(wanted, [runner("r1", {"a": 4}, free=20 * MB, leaving_bytes=100 * MB)], {})
    assert leaving.hosts == {"r1": {"a": 4}}  # it waits for that room, and takes no more
    gone = place(wanted, [runner("r1", {"a": 4}, free=120 * MB)], {})
    assert gone.hosts == {"r1": {"a": 4, "b": 1}}


def test_room_that_a_first_instance_waits_for_is_not_given_away() -> None:
    wanted = [asked("a", 2, size=50 * MB), asked("b", 1)]
    placement = place(wanted, [runner("r1", {"a": 1}, free=60 * MB, leaving_bytes=40 * MB)], {})
    assert placement.hosts == {"r1": {"a": 1}}
    assert placement.unplaced == {"a": 1, "b": 1}


def test_it_waits_where_most_is_coming_whatever_the_order_of_the_runners() -> None:
    wanted = [asked("a", 2, size=50 * MB), asked("b", 1)]
    runners = [
        runner("r1", free=0, leaving_bytes=100 * MB),
        runner("r2", {"a": 1}, free=60 * MB, leaving_bytes=40 * MB),
    ]
    for order in (runners, runners[::-1]):
        assert place(wanted, order, {}).hosts == {"r1": {}, "r2": {"a": 2}}


def test_no_func_loses_its_last_instance_for_the_first_of_another() -> None:
    wanted = [asked("a", 1), asked("b", 1)]
    placement = place(wanted, [runner("r1", {"a": 1}, free=0)], {})
    assert placement.hosts == {"r1": {"a": 1}}
    assert placement.unplaced == {"b": 1}


def test_a_sleeping_func_has_the_runner_that_ran_it_last_as_its_waker() -> None:
    wanted = [asked("a", 0, asleep=True, work=False)]
    first = place(wanted, [runner("r1"), runner("r2", {"a": 1})], {})
    assert first.wakers == {"a": "r2"}
    assert first.hosts == {"r1": {}, "r2": {}}
    assert place(wanted, [runner("r1"), runner("r2")], first.wakers).wakers == {"a": "r2"}
    assert place(wanted, [runner("r1"), runner("r2", draining=True)], first.wakers).wakers == {"a": "r1"}


def test_wakers_are_spread() -> None:
    wanted = [asked(f"f{n:02}", 0, asleep=True) for n in range(10)]
    placement = place(wanted, [runner("r1"), runner("r2")], {})
    assert Counter(placement.wakers.values()) == {"r1": 5, "r2": 5}


def test_without_a_runner_nothing_is_placed() -> None:
    placement = place([asked("a", 2), asked("b", 0, asleep=True)], [], {})
    assert placement == Placement(unplaced={"a": 2})


@given(problems())
def test_no_runner_gets_more_than_its_memory_holds(problem: tuple[list[Asked], list[RunnerSnapshot]]) -> None:
    wanted, runners = problem
    sizes = {one.queue: one.size for one in wanted}
    placement = place(wanted, runners, {})
    for one in runners:
        hosts = placement.hosts.get(one.id, {})
        added = sum(max(0, count - one.hosts.get(queue, 0)) * sizes[queue] for queue, count in hosts.items())
        assert added <= (one.memory_free or 0)


@given(problems())
def test_instances_are_placed_or_counted_as_unplaced(problem: tuple[list[Asked], list[RunnerSnapshot]]) -> None:
    wanted, runners = problem
    placement = place(wanted, runners, {})
    for one in wanted:
        assert total(placement, one.queue) + placement.unplaced.get(one.queue, 0) == one.count
    taking = {one.id for one in runners if one.takes_hosts()}
    assert set(placement.hosts) == taking
    assert set(placement.wakers) == ({one.queue for one in wanted if one.asleep} if taking else set())
    assert set(placement.wakers.values()) <= taking


@given(problems())
def test_nothing_moves_that_need_not(problem: tuple[list[Asked], list[RunnerSnapshot]]) -> None:
    """Starts and stops are what the counts call for, and what first instances push aside; never an exchange."""
    wanted, runners = problem
    placement = place(wanted, runners, {})
    pushed = 0
    for one in wanted:
        before = sum(r.hosts.get(one.queue, 0) for r in runners if r.takes_hosts())
        stopped = sum(
            max(0, r.hosts.get(one.queue, 0) - placement.hosts[r.id].get(one.queue, 0))
            for r in runners
            if r.takes_hosts()
        )
        pushed += stopped - max(0, before - one.count)
    if not any(placement.unplaced.get(one.queue) and one.work for one in wanted):
        assert pushed == 0


@given(problems())
def test_what_was_placed_stays_when_it_is_there(problem: tuple[list[Asked], list[RunnerSnapshot]]) -> None:
    wanted, runners = problem
    placement = place(wanted, runners, {})
    now = [
        replace(one, hosts=placement.hosts.get(one.id, {}), memory_free=0, leaving_bytes=0)
        for one in runners
        if one.takes_hosts()
    ]
    settled = [replace(one, count=total(placement, one.queue)) for one in wanted]
    again = place(settled, now, placement.wakers)
    assert (again.starts, again.stops) == (0, 0)
    assert again.wakers == placement.wakers


@given(problems(), st.randoms())
def test_the_order_of_the_runners_does_not_matter(
    problem: tuple[list[Asked], list[RunnerSnapshot]], rng: object
) -> None:
    wanted, runners = problem
    other = list(runners)
    rng.shuffle(other)  # type: ignore[attr-defined]
    assert place(wanted, other, {}) == place(wanted, runners, {})
