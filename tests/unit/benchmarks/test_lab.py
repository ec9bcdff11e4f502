"""Rounds in turn, ratios within rounds, and plans."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from benchmarks import run
from benchmarks.lab import Lab, paired
from benchmarks.measures import MEASURES
from benchmarks.plan import DEFAULT, QUICK
from benchmarks.processes import BenchError
from benchmarks.subjects.base import Subject


class Named(Subject):
    def __init__(self, name: str) -> None:
        self.name = name

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def url(self, operation: str) -> str:
        return ""

    def components(self) -> Mapping[str, Sequence[int]]:
        return {}


def test_each_round_begins_with_the_next_subject(tmp_path) -> None:
    order: list[str] = []
    subjects = [Named("a"), Named("b"), Named("c")]

    with Lab(QUICK, tmp_path, tmp_path) as lab:
        found = lab.alternate(subjects, 3, lambda subject: order.append(subject.name) or len(order))

    assert "".join(order) == "abcbcacab"
    assert found == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_ratios_pair_rounds_so_that_drift_cancels() -> None:
    assert paired([100, 50, 10], [200, 100, 20]) == 0.5


def test_rounds_of_different_number_do_not_pair() -> None:
    with pytest.raises(BenchError, match="pair"):
        paired([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("plan", "limit"), [(DEFAULT, 360), (QUICK, 90)])
def test_plans_leave_time_to_start_and_stop(plan, limit) -> None:
    assert plan.limit < limit
    assert set(plan.leave_out) <= set(MEASURES)
    load = plan.rounds * 6 * plan.seconds
    load += plan.latency_rounds * 5 * plan.latency_seconds
    load += plan.tail_rounds * 4 * plan.tail_seconds
    load += plan.body_rounds * 6 * plan.body_seconds
    assert load < 0.7 * limit


def test_options_choose_the_plan() -> None:
    assert run.plan_of(run.arguments([])) == DEFAULT
    assert run.plan_of(run.arguments(["--quick"])) == QUICK
    assert run.plan_of(run.arguments(["--seconds", "7"])).tail_seconds == 7


def test_an_unknown_measure_is_refused_with_a_list(capsys) -> None:
    with pytest.raises(SystemExit):
        run.arguments(["--only", "speed"])

    assert "throughput" in capsys.readouterr().err


def test_a_run_over_its_time_is_an_error() -> None:
    with pytest.raises(run.OutOfTimeError, match="more than"), run.bounded(0.05):
        threading.Event().wait(5)


def test_a_subject_that_does_not_start_is_stopped_all_the_same(tmp_path) -> None:
    """A half-started subject may have processes already."""
    stopped: list[str] = []

    class Failing(Named):
        def start(self) -> None:
            raise BenchError("no luck")

        def stop(self) -> None:
            stopped.append(self.name)

    lab = Lab(QUICK, tmp_path, tmp_path)
    lab.add(Failing("failing"))
    with lab, pytest.raises(BenchError, match="no luck"):
        lab.subject("failing")

    assert stopped == ["failing"]
