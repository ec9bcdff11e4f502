"""How many instances a Func needs."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from funcatron.errors import SettingsError
from funcatron.tron.scaling import (
    Basis,
    FuncPolicy,
    FuncSnapshot,
    Memory,
    Reason,
    ServiceTime,
    Snapshot,
    Totals,
    decide,
)
from tests.unit.tron.scaling.worlds import by_formula, decided, func, funcs, given, histories, instances, obeyed

# ---------------------------------------------------------------------- the formula


def test_the_arrival_rate_times_the_service_time_fills_slots() -> None:
    # 10 busy slots and √10 spare ones: 13.2 slots of 4
    decision, _ = decided(func(arrival_rate=50.0, running=1))
    assert decision.funcs["func.f"].need.hosts == pytest.approx(3.29, abs=0.01)
    assert instances("f", decision) == 4


def test_a_backlog_adds_what_serves_it_within_the_wanted_wait() -> None:
    policy = FuncPolicy(target_wait=2.0, spare=0.0, utilisation=1.0)
    decision, _ = decided(func(arrival_rate=10.0, ready=120, running=1, policy=policy))
    assert decision.funcs["func.f"].need.hosts == pytest.approx((10 * 0.2 + 120 * 0.2 / 2) / 4)


def test_messages_that_runners_hold_without_working_at_them_wait_as_well() -> None:
    policy = FuncPolicy(target_wait=1.0, spare=0.0, utilisation=1.0)
    figures = {"arrival_rate": 10.0, "running": 1, "policy": policy}
    queued = decided(func(ready=40, unacked=4, in_flight=4, **figures))[0]
    held = decided(func(ready=0, unacked=44, in_flight=4, **figures))[0]
    assert held.funcs["func.f"].need.hosts == queued.funcs["func.f"].need.hosts


def test_a_backlog_is_not_drained_faster_than_instances_start() -> None:
    fast = decided(func(arrival_rate=10.0, ready=400, running=1, start_up=0.5))[0]
    slow = decided(func(arrival_rate=10.0, ready=400, running=1, start_up=20.0))[0]
    assert instances("f", slow) < instances("f", fast) / 5


def test_while_nothing_runs_a_backlog_at_most_doubles_what_is_started() -> None:
    policy = FuncPolicy(target_wait=1.0)
    down = decided(func(arrival_rate=20.0, ready=2000, starting=2, policy=policy))[0]
    assert instances("f", down) <= 2 * by_formula(4.0, policy, 4)
    up = decided(func(arrival_rate=20.0, ready=2000, running=1, policy=policy))[0]
    assert instances("f", up) > 50


def test_what_starts_counts_as_there() -> None:
    """Seconds pass, the backlog of a slow start grows, but what it takes was ordered already."""
    memory, wanted = Memory(), []
    for second in range(10):
        waiting = 20 * (second + 1)
        figures = func(arrival_rate=20.0, ready=waiting, starting=wanted[-1] if wanted else 0, start_up=12.0)
        decision, memory = decided(figures, memory=memory, at=float(second))
        wanted.append(instances("f", decision))
    assert wanted[-1] <= 2 * by_formula(20 * 0.2, FuncPolicy(), 4)


def test_large_loads_run_at_the_wanted_utilisation_small_ones_keep_more_free() -> None:
    large = decided(func(arrival_rate=2000.0, running=100))[0].funcs["func.f"].need
    small = decided(func(arrival_rate=5.0, running=1))[0].funcs["func.f"].need
    assert large.utilisation == pytest.approx(0.9)
    assert small.utilisation == pytest.approx(0.5)


# ---------------------------------------------------------------------- CPU


def test_calls_that_compute_need_as_many_hosts_as_they_keep_cores_busy() -> None:
    figures = {"arrival_rate": 100.0, "service_time": ServiceTime(0.05), "slots": 32, "running": 1}
    waits = decided(func(**figures))[0]
    computes = decided(func(cpu_per_call=0.05, cores_per_instance=1.0, **figures))[0]
    assert instances("f", waits) == 1
    assert instances("f", computes) == 6  # five busy cores at 90 %
    assert computes.funcs["func.f"].need.reason is Reason.CPU


def test_no_more_hosts_than_find_a_core() -> None:
    figures = func(arrival_rate=500.0, cpu_per_call=0.2, cores_per_instance=1.0, running=4)
    free = decided(figures)[0]
    full = decided(figures, totals=Totals(cores=8.0))[0]
    assert instances("f", free) > 50
    assert instances("f", full) == 8
    assert full.funcs["func.f"].need.reason is Reason.CORES


def test_calls_that_wait_for_others_are_not_bound_by_cores() -> None:
    figures = func(arrival_rate=500.0, cpu_per_call=0.0001, running=4)
    assert instances("f", decided(figures, totals=Totals(cores=2.0))[0]) == instances("f", decided(figures)[0])


# ---------------------------------------------------------------------- zero and back


def test_nobody_calls_nothing_runs() -> None:
    decision, _ = decided(func(idle=None))
    assert instances("f", decision) == 0
    assert decision.funcs["func.f"].need.reason is Reason.IDLE


def test_the_first_message_gets_an_instance_before_anything_else_is_known() -> None:
    decision, _ = decided(func(ready=1, arrival_rate=None, service_time=None))
    assert instances("f", decision) == 1
    assert decision.funcs["func.f"].need.reason is Reason.FIRST


def test_an_instance_stays_until_there_was_no_call_for_the_idle_time() -> None:
    memory = decided(func(arrival_rate=5.0, running=1))[1]
    used = decided(func(running=1, idle=59.0), memory=memory, at=60.0)[0]
    idle = decided(func(running=1, idle=61.0), memory=memory, at=62.0)[0]
    assert (instances("f", used), instances("f", idle)) == (1, 0)


@pytest.mark.parametrize("work", [{"ready": 1}, {"unacked": 1}, {"unacked": 1, "in_flight": 1}])
def test_a_func_with_a_message_anywhere_does_not_go_to_sleep(work: dict[str, int]) -> None:
    memory = decided(func(arrival_rate=5.0, running=1))[1]
    decision, _ = decided(func(running=1, idle=1000.0, **work), memory=memory, at=1000.0)
    assert instances("f", decision) == 1


def test_warm_instances_stay_while_the_func_is_in_use_and_min_always() -> None:
    memory = decided(func(arrival_rate=0.1, running=3))[1]
    policy = FuncPolicy(warm=3)
    assert instances("f", decided(func(running=3, policy=policy), memory=memory, at=50.0)[0]) == 3
    assert instances("f", decided(func(running=3, idle=100.0, policy=policy), memory=memory, at=100.0)[0]) == 0
    least = replace(policy, min=2)
    assert instances("f", decided(func(running=3, idle=100.0, policy=least), memory=memory, at=100.0)[0]) == 2


# ---------------------------------------------------------------------- growing and shrinking


def test_growing_happens_at_once() -> None:
    memory = decided(func(arrival_rate=10.0, running=1))[1]
    decision, _ = decided(func(arrival_rate=200.0, running=1), memory=memory, at=1.0)
    assert instances("f", decision) == by_formula(40.0, FuncPolicy(), 4)


def test_shrinking_waits_for_the_window() -> None:
    busy, quiet = func(arrival_rate=200.0, running=12), func(arrival_rate=1.0, running=12)
    memory = decided(busy)[1]
    counts = []
    for second in range(1, 120):
        decision, memory = decided(quiet, memory=memory, at=float(second))
        counts.append(instances("f", decision))
    window = int(FuncPolicy().window)
    assert set(counts[: window - 1]) == {counts[0]}
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_what_a_backlog_called_for_is_kept_for_the_cooldown_only() -> None:
    policy = FuncPolicy(window=60.0, cooldown=3.0)
    steady = func(arrival_rate=20.0, running=2, policy=policy)
    memory = decided(replace(steady, ready=500))[1]
    counts = []
    for second in range(1, 8):
        decision, memory = decided(steady, memory=memory, at=float(second))
        counts.append(instances("f", decision))
    assert counts[:3] == [counts[0]] * 3
    assert counts[0] > 20
    assert counts[-1] == by_formula(4.0, policy, 4, margin=1.1)


def test_slow_starts_lengthen_the_window() -> None:
    def seconds_until_shrunk(start_up: float) -> int:
        memory = decided(func(arrival_rate=200.0, running=12, start_up=start_up))[1]
        for second in range(1, 300):
            figures = func(arrival_rate=1.0, running=12, start_up=start_up)
            decision, memory = decided(figures, memory=memory, at=float(second))
            if instances("f", decision) < 12:
                return second
        return 300

    assert seconds_until_shrunk(30.0) > 90 > 4 * seconds_until_shrunk(0.5)


def test_a_steady_growth_is_met_before_it_comes() -> None:
    """What a slowly starting instance will find when it serves counts, not what is there now."""

    def hosts(start_up: float) -> float:
        memory = Memory()
        for second in range(60):
            figures = func(arrival_rate=50.0 + second, running=5, start_up=start_up)
            decision, memory = decided(figures, memory=memory, at=float(second))
        return decision.funcs["func.f"].need.hosts or 0.0

    assert hosts(20.0) > 1.1 * hosts(0.1)


def test_a_tron_that_begins_to_lead_does_not_shrink_for_lost_memory() -> None:
    decision, memory = decided(func(arrival_rate=1.0, running=9), at=500.0)
    assert instances("f", decision) == 9
    later, _ = decided(func(arrival_rate=1.0, running=9), memory=memory, at=505.0)
    assert instances("f", later) == 9


def test_a_clock_that_went_back_starts_anew_and_keeps_what_runs() -> None:
    memory = decided(func(arrival_rate=1.0, running=9), at=500.0)[1]
    assert instances("f", decided(func(arrival_rate=1.0, running=9), memory=memory, at=3.0)[0]) == 9


# ---------------------------------------------------------------------- what is not known


def test_a_lower_bound_of_the_service_time_grows_but_does_not_shrink() -> None:
    memory = decided(func(arrival_rate=20.0, running=6, service_time=ServiceTime(1.0)))[1]
    low = ServiceTime(0.01, Basis.AT_LEAST)
    assert (
        instances("f", decided(func(arrival_rate=20.0, running=7, service_time=low), memory=memory, at=500.0)[0]) == 7
    )
    high = ServiceTime(5.0, Basis.AT_LEAST)
    assert (
        instances("f", decided(func(arrival_rate=20.0, running=7, service_time=high), memory=memory, at=500.0)[0]) > 20
    )


@given(histories(), st.data())
def test_unknown_figures_change_nothing(history: tuple[Snapshot, Memory], data: st.DataObject) -> None:
    snapshot, memory = history
    for one in snapshot.funcs:
        figure = data.draw(st.sampled_from(("arrival_rate", "service_time", "ready", "unacked", "in_flight")))
        blind = replace(one, **{figure: None})
        before = memory.funcs[one.queue].wanted
        after = decide(Snapshot(snapshot.at, (blind,)), memory)[0].funcs[one.queue]
        if figure == "service_time" and after.need.reason == "idle":  # nobody calls: its calls' time is not needed
            known = decide(Snapshot(snapshot.at, (one,)), memory)[0].funcs[one.queue]
            assert after.need.wanted == known.need.wanted
        elif before > 0:
            assert after.need.wanted == before
        else:  # the first message is the one thing that may be acted upon
            first = max(1, one.policy.warm) if blind.has_work else 0
            top = first if one.policy.max is None else min(first, one.policy.max)
            assert after.need.wanted == max(one.policy.min, top)


# ---------------------------------------------------------------------- properties


@given(histories())
def test_instances_stay_within_their_bounds(history: tuple[Snapshot, Memory]) -> None:
    snapshot, memory = history
    for found in decide(snapshot, memory)[0].funcs.values():
        policy = found.inputs.policy
        assert found.need.wanted >= policy.min
        assert policy.max is None or found.need.wanted <= policy.max
        assert 0 <= found.instances <= found.need.wanted


MORE = {
    "arrivals": lambda one, by: replace(one, arrival_rate=one.arrival_rate + by),
    "backlog": lambda one, by: replace(one, ready=one.ready + round(by)),
    "unacked": lambda one, by: replace(one, unacked=one.unacked + round(by)),
    "in flight": lambda one, by: replace(one, unacked=one.unacked + round(by), in_flight=one.in_flight + round(by)),
    "longer calls": lambda one, by: replace(
        one, service_time=replace(one.service_time, seconds=one.service_time.seconds + by / 100)
    ),
}


@given(funcs(), funcs(), st.floats(0.1, 100), st.sampled_from(sorted(MORE)), st.floats(0.1, 500))
def test_more_load_never_gets_fewer_instances(
    before: FuncSnapshot, one: FuncSnapshot, passed: float, kind: str, by: float
) -> None:
    memory = decided(before)[1]
    less = decided(one, memory=memory, at=passed)[0]
    more = decided(MORE[kind](one, by), memory=memory, at=passed)[0]
    assert instances("f", more) >= instances("f", less)


@given(st.floats(0.5, 300), st.floats(0.01, 2), st.integers(1, 32), st.integers(0, 60))
def test_a_constant_load_settles_on_what_the_formula_says(rate: float, service: float, slots: int, there: int) -> None:
    figures = func(arrival_rate=rate, service_time=ServiceTime(service), slots=slots)
    counts = obeyed(figures, 60, running=there)
    load = rate * service
    assert set(counts[30:]) == {counts[-1]}
    assert by_formula(load, FuncPolicy(), slots) <= counts[-1] <= by_formula(load, FuncPolicy(), slots, margin=1.1001)


@pytest.mark.parametrize("slots", [1, 4, 32])
@pytest.mark.parametrize("rate", [2, 5, 10, 20, 50, 100, 400])
@pytest.mark.parametrize("service", [0.05, 0.2, 0.8])
def test_chance_does_not_make_instances_come_and_go(slots: int, rate: int, service: float) -> None:
    """Ten minutes of Poisson arrivals: a few changes, by few."""
    figures = func(arrival_rate=float(rate), service_time=ServiceTime(service), slots=slots)
    counts = obeyed(figures, 600, random.Random(f"{slots}/{rate}/{service}"))[60:]
    assert sum(a != b for a, b in itertools.pairwise(counts)) <= 15
    assert max(counts) - min(counts) <= max(2, 0.15 * max(counts))


# ---------------------------------------------------------------------- what owners may want


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"min": 5, "max": 2}, "min 5 is more than max 2"),
        ({"min": -1}, "negative"),
        ({"utilisation": 0.0}, "utilisation"),
        ({"utilisation": 1.1}, "utilisation"),
        ({"target_wait": 0.0}, "target_wait"),
        ({"weight": 0.0}, "weight"),
        ({"idle": -1.0}, "idle"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        FuncPolicy(**wrong)


def test_bounds_of_the_whole_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="min_runners 5 is more than max_runners 2"):
        Totals(min_runners=5, max_runners=2)
    with pytest.raises(SettingsError, match="slot"):
        func(slots=0)
