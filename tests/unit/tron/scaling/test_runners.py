"""How many Runners and Trons should run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from funcatron.tron.scaling import Decision, Firehose, Memory, RunnerSnapshot, Totals
from tests.unit.tron.scaling.worlds import GB, MB, decided, func, runner

SCALED = Totals(runners=2, max_runners=10)


def wanting(
    count: int, runners: tuple[RunnerSnapshot, ...], totals: Totals, memory: Memory, at: float
) -> tuple[Decision, Memory]:
    """Decide for a Func that has a minimum of so many instances of 100 MB."""
    figures = func("a", rss=100 * MB, cpu_per_call=0.0)
    figures = replace(figures, policy=replace(figures.policy, min=count))
    return decided(figures, runners=runners, totals=totals, memory=memory, at=at)


def test_a_substrate_that_is_not_scaled_stays_as_it_is() -> None:
    decision, _ = wanting(50, (runner("r1"),), Totals(), Memory(), 0.0)
    assert decision.runners.count is None


def test_instances_that_find_no_room_get_runners_at_once() -> None:
    decision, _ = wanting(30, (runner("r1"), runner("r2")), SCALED, Memory(), 0.0)
    assert decision.placement.unplaced == {}  # the cap on memory left only what fits
    assert decision.funcs["func.a"].instances < 30
    assert decision.runners.count == 4  # 3,000 MB at 85 % of 1,024
    assert "need 3.4 Runners" in decision.runners.why


def test_the_count_stays_within_its_bounds() -> None:
    assert wanting(300, (runner("r1"), runner("r2")), SCALED, Memory(), 0.0)[0].runners.count == 10
    floor = Totals(runners=2, min_runners=2, max_runners=10)
    assert wanting(0, (runner("r1"), runner("r2")), floor, Memory(), 0.0)[0].runners.count == 2


def test_runners_go_only_when_none_was_needed_for_the_whole_window() -> None:
    runners = tuple(runner(f"r{n}") for n in range(4))
    totals = Totals(runners=4, max_runners=10, runner_window=300.0)
    decision, memory = wanting(1, runners, totals, Memory(), 0.0)
    assert decision.runners.count == 4
    for second in range(1, 300, 7):
        decision, memory = wanting(1, runners, totals, memory, float(second))
        assert (decision.runners.count, decision.runners.drain) == (4, None)
    decision, memory = wanting(1, runners, totals, memory, 301.0)
    assert decision.runners.count == 1
    assert decision.runners.drain is not None


def test_the_runner_whose_going_moves_least_is_drained() -> None:
    runners = (
        runner("r1", {"a": 2}, in_flight=1),
        runner("r2", {"a": 1}, in_flight=9),
        runner("r3", {"a": 1}, in_flight=3),
    )
    totals = Totals(runners=3, max_runners=10, runner_window=10.0)
    _, memory = wanting(4, runners, totals, Memory(), 0.0)
    decision, _ = wanting(4, runners, totals, memory, 20.0)
    assert decision.runners.count == 1
    assert decision.runners.drain == "r3"


def test_a_runner_whose_calls_in_flight_are_unknown_is_not_the_first_to_go() -> None:
    runners = (runner("r1", in_flight=None), runner("r2", in_flight=7))
    totals = Totals(runners=2, max_runners=10, runner_window=0.0)
    _, memory = wanting(1, runners, totals, Memory(), 0.0)
    assert wanting(1, runners, totals, memory, 1.0)[0].runners.drain == "r2"


def test_a_clock_that_went_back_keeps_the_runners_that_run() -> None:
    runners = tuple(runner(f"r{n}") for n in range(4))
    totals = Totals(runners=4, max_runners=10, runner_window=10.0)
    _, memory = wanting(1, runners, totals, Memory(), 500.0)
    decision, _ = wanting(1, runners, totals, memory, 3.0)
    assert (decision.runners.count, decision.runners.drain) == (4, None)


def test_one_runner_is_drained_at_a_time() -> None:
    runners = (runner("r1"), runner("r2"), runner("r3", draining=True))
    totals = Totals(runners=3, max_runners=10, runner_window=0.0)
    _, memory = wanting(1, runners, totals, Memory(), 0.0)
    decision, _ = wanting(1, runners, totals, memory, 1.0)
    assert (decision.runners.count, decision.runners.drain) == (1, None)


def test_a_runner_is_not_drained_when_its_hosts_fit_nowhere_else() -> None:
    runners = (runner("r1", {"a": 2}, memory_free=10 * MB), runner("r2", {"a": 3}, memory_free=10 * MB))
    totals = Totals(runners=2, max_runners=10, runner_window=0.0)
    _, memory = wanting(5, runners, totals, Memory(), 0.0)
    decision, _ = wanting(5, runners, totals, memory, 1.0)
    assert (decision.runners.count, decision.runners.drain) == (1, None)


@pytest.mark.parametrize("unknown", ["memory_total", "cores_total"])
def test_unknown_figures_of_a_runner_change_nothing(unknown: str) -> None:
    runners = (runner("r1"), runner("r2", **{unknown: None}))
    decision, _ = wanting(100, runners, SCALED, Memory(), 0.0)
    assert (decision.runners.count, decision.runners.drain) == (2, None)
    assert "unknown" in decision.runners.why


def test_an_unknown_cpu_time_lets_no_runner_go() -> None:
    runners = (runner("r1"), runner("r2"))
    totals = Totals(runners=2, max_runners=10, runner_window=0.0)
    for cpu, count in ((None, 2), (0.001, 1)):
        busy = func(arrival_rate=10.0, running=1, rss=MB, cpu_per_call=cpu)
        _, memory = decided(busy, runners=runners, totals=totals)
        decision, _ = decided(busy, runners=runners, totals=totals, memory=memory, at=1.0)
        assert decision.runners.count == count
        assert ("none goes" in decision.runners.why) == (cpu is None)


def test_silence_of_all_runners_changes_nothing() -> None:
    runners = (runner("r1", heard=60.0), runner("r2", heard=None))
    assert wanting(100, runners, SCALED, Memory(), 0.0)[0].runners.count == 2


def test_cores_call_for_runners_as_memory_does() -> None:
    figures = func(arrival_rate=100.0, service_time=func().service_time, cpu_per_call=0.1, running=3)
    decision, _ = decided(figures, runners=(runner("r1"), runner("r2")), totals=SCALED)
    assert decision.runners.count == 3  # ten busy cores at 85 % of four


# ---------------------------------------------------------------------- Trons

TOTALS = Totals(max_trons=8)
CALM = Firehose(trons=2, arrival_rate=1000.0, ready=0, seconds_per_message=100e-6)


def trons(firehose: Firehose, memory: Memory, at: float = 0.0, totals: Totals = TOTALS) -> tuple[int | None, Memory]:
    """Return how many Trons should run."""
    decision, after = decided(firehose=firehose, totals=totals, memory=memory, at=at)
    return decision.trons.count, after


def test_the_cpu_time_of_messages_calls_for_trons() -> None:
    count, _ = trons(replace(CALM, arrival_rate=20_000.0), Memory())
    assert count == 4  # two busy cores at 60 %


def test_a_deep_firehose_calls_for_more() -> None:
    count, _ = trons(replace(CALM, ready=20_000), Memory())
    assert count == 4


def test_trons_stay_for_the_window_and_within_their_bounds() -> None:
    count, memory = trons(replace(CALM, ready=1_000_000), Memory())
    assert count == 8
    count, memory = trons(CALM, memory, 200.0)
    assert count == 8
    count, memory = trons(CALM, memory, 301.0)
    assert count == 1


@pytest.mark.parametrize("figure", ["arrival_rate", "ready", "seconds_per_message"])
def test_unknown_figures_of_the_firehose_change_nothing(figure: str) -> None:
    assert trons(replace(CALM, **{figure: None}), Memory())[0] == 2


def test_trons_that_are_not_counted_are_not_decided() -> None:
    assert trons(replace(CALM, trons=None), Memory())[0] is None


def test_a_new_leader_keeps_the_trons_that_run() -> None:
    assert trons(replace(CALM, trons=5), Memory())[0] == 5


def test_memory_of_a_gigabyte_is_said_in_mebibytes() -> None:
    decision, _ = wanting(5, (runner("r1"), runner("r2", memory_total=GB)), SCALED, Memory(), 0.0)
    assert decision.runners.why == (
        "500 MiB and 0.0 cores for hosts need 0.6 Runners of 1024 MiB and 4.0 cores at 85 %: 2 Runners, "
        "as was needed in the last 300 s"
    )
