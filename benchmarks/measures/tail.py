"""How even the answers come at half of the maximum rate: p99/p50, open loop (see pace.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Figure, at_most, median
from benchmarks.lab import ROUTINGS, Lab
from benchmarks.pace import Pace
from benchmarks.processes import BenchError
from benchmarks.subjects.base import Subject

GOAL = at_most(5)
ROOT = Path(__file__).parents[2]


def tail(lab: Lab) -> list[Figure]:
    """Funcatron by both routings; the bare echoes beside it show what the machine itself gives."""
    names = [f"{kind}-{routing}" for kind in ("funcatron", "echo") for routing in ROUTINGS]
    subjects = lab.subjects(*names)
    rates = {subject.name: lab.max_rate(subject) / 2 for subject in subjects}
    rounds = lab.alternate(
        subjects, lab.plan.tail_rounds, lambda subject: pace(subject, rates[subject.name], lab.plan.tail_seconds)
    )
    figures = []
    for name, found in rounds.items():
        goal = GOAL if name.startswith("funcatron") else None
        late = median(each.late_p99 for each in found) * 1e3
        note = f"at {rates[name]:,.0f} req/s; the client's own lateness: p99 {late:.2f} ms"
        ratio = median(each.p99 / each.p50 for each in found)
        figures += [
            Figure(f"tail at half the rate/{name} p50", median(each.p50 for each in found) * 1e3, "ms"),
            Figure(f"tail at half the rate/{name} p99", median(each.p99 for each in found) * 1e3, "ms"),
            Figure(f"tail at half the rate/{name} p99 : p50", ratio, "ratio", goal, note),
        ]
    return figures


def pace(subject: Subject, rate: float, seconds: float) -> Pace:
    """Run the open-loop client in a process of its own; raises BenchError on any request not answered with 200."""
    argv = [sys.executable, "-m", "benchmarks.pace", subject.url("greet"), f"{rate:.1f}", f"{seconds:g}"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 30, check=False)
    if done.returncode != 0:
        raise BenchError(f"the open-loop client failed at {subject.name}:\n{done.stderr}")
    seen = Pace(**json.loads(done.stdout))
    if seen.failed or seen.unanswered:
        raise BenchError(f"{subject.name} at {rate:.0f} req/s: {seen.failed} failed, {seen.unanswered} unanswered")
    return seen
