"""One picture a trace: what is called, the instances of each policy, the calls that wait. SVG, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.scaling.policies import Funcatron, Policy
from benchmarks.scaling.runs import Run
from benchmarks.scaling.traces import Trace

COLOURS = ("#d62728", "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "funcatron",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(trace: Trace, runs: Mapping[str, Run], policies: Sequence[type[Policy[Any]]], path: Path) -> None:
    """Write the picture of a trace. The same results give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 5), layout="constrained")
        rates, instances, waiting = figure.subplots(3, 1, sharex=True, height_ratios=(1, 3, 1.5))
        _rates(rates, trace)
        for policy, colour in zip(policies, COLOURS, strict=False):
            _curves(instances, waiting, policy, colour, runs[policy.name])
        instances.set_ylabel("instances")
        instances.set_ylim(bottom=0)
        figure.legend(loc="outside upper center", fontsize=7, ncols=3)
        waiting.set_ylabel("waiting calls")
        waiting.set_yscale("symlog", linthresh=10)
        waiting.set_ylim(bottom=0)
        waiting.set_xlabel("s")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _rates(axes: Axes, trace: Trace) -> None:
    times = [t / 2 for t in range(int(trace.seconds * 2))]
    for load in trace.funcs:
        axes.plot(times, [load.rate(t) for t in times], color="black" if load is trace.funcs[0] else "grey", lw=0.8)
    axes.set_ylabel("calls/s")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, trace.seconds)


def _curves(instances: Axes, waiting: Axes, policy: type[Policy[Any]], colour: str, run: Run) -> None:
    times = [point[0] for point in run.curve]
    width = 1.6 if policy is Funcatron else 0.8
    order = 3 if policy is Funcatron else 2
    instances.step(
        times, [p[1] for p in run.curve], color=colour, lw=width, label=policy.title, where="post", zorder=order
    )
    waiting.plot(times, [p[2] for p in run.curve], color=colour, lw=width, zorder=order)
