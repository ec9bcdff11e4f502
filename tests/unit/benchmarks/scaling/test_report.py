"""Tables, goals, pictures and the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scaling import __main__ as command
from benchmarks.scaling import report
from benchmarks.scaling.calls import exponential
from benchmarks.scaling.policies import POLICIES, Funcatron
from benchmarks.scaling.policies.knative import Knative
from benchmarks.scaling.runs import Run
from benchmarks.scaling.traces import FuncLoad, Trace, all_traces, step

TINY = Trace("tiny", "a few calls", (FuncLoad("f", step(2, 20, 10), 10, exponential(0.1)),), seconds=40.0)
PAIR = (Funcatron, Knative)


def results(**figures: tuple[float, float]) -> dict[str, dict[str, Run]]:
    """Return results of one trace: each figure of Funcatron and of Knative."""
    runs = {policy.name: Run(calls=100, waits=[1.0]) for policy in PAIR}
    for name, values in figures.items():
        for policy, value in zip(PAIR, values, strict=True):
            setattr(runs[policy.name], name, value)
    return {"t": runs}


@pytest.mark.parametrize(("missed", "met"), [((3, 3), True), ((2, 3), True), ((4, 3), False)])
def test_no_more_deadlines_than_the_best_peer_may_be_missed(missed: tuple[int, int], met: bool) -> None:
    found = report.goals(results(missed=missed, instance_seconds=(1.0, 2.0)), PAIR)
    assert [goal[0] for goal in found] == [met, True]


@pytest.mark.parametrize(("spent", "met"), [((1.0, 2.0), True), ((2.0, 2.0), False)])
def test_fewer_instance_seconds_than_each_peer_are_to_be_spent(spent: tuple[float, float], met: bool) -> None:
    found = report.goals(results(missed=(0, 20), instance_seconds=spent), PAIR)
    assert found[1][0] is met
    assert ("20.0 %" in found[1][1]) is not met  # a cheaper peer is shown with what it missed


def test_runs_of_several_seeds_add_up() -> None:
    total = Run()
    for curve in ([(0.0, 1, 0)], [(0.0, 2, 0)]):
        total.add(Run(calls=10, missed=1, waits=[0.5, 1.5], instance_seconds=5.0, starts=2, curve=list(curve)))
    assert (total.calls, total.missed, total.instance_seconds, total.starts) == (20, 2, 10.0, 4)
    assert total.mean_wait == 1.0
    assert total.p95 == 1.5
    assert total.curve == [(0.0, 1, 0)]


def test_every_policy_gets_the_same_calls() -> None:
    runs = command.simulate([TINY], (1, 2))["tiny"]
    assert list(runs) == [policy.name for policy in POLICIES]
    assert len({run.calls for run in runs.values()}) == 1


def test_the_page_is_rewritten_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    command.write([TINY], command.simulate([TINY], (1,)), page)
    text = page.read_text()
    assert text.startswith("before\n\n" + report.BEGIN)
    assert text.endswith(report.END + "\n\nafter\n")
    assert "old" not in text
    assert "![tiny](scaling/tiny.svg)" in text
    for policy in POLICIES:
        assert policy.title in text
    picture = (tmp_path / "scaling" / "tiny.svg").read_bytes()
    assert b"<svg" in picture
    command.write([TINY], command.simulate([TINY], (1,)), page)
    assert (tmp_path / "scaling" / "tiny.svg").read_bytes() == picture


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no part between"):
        report.insert(page, "figures")
    assert page.read_text() == "nothing"


def test_the_traces_have_names_of_their_own_and_rates_below_their_highest() -> None:
    traces = all_traces()
    assert len({trace.name for trace in traces}) == len(traces)
    for trace in traces:
        for load in trace.funcs:
            highest = max(load.rate(t / 4) for t in range(int(trace.seconds * 4)))
            assert 0 < highest <= load.highest + 1e-9


def test_the_documented_page_has_the_marks_and_a_picture_of_each_trace() -> None:
    text = command.PAGE.read_text()
    assert report.BEGIN in text
    assert report.END in text
    for trace in all_traces():
        assert (command.PAGE.parent / "scaling" / f"{trace.name}.svg").exists()
