"""The time of one request when nothing else goes on: p50 at c=1."""

from __future__ import annotations

from benchmarks.figures import Figure, at_most, median
from benchmarks.lab import ROUTINGS, Lab, paired
from benchmarks.load import wrk

GOAL = at_most(1.4)


def latency(lab: Lab) -> list[Figure]:
    """One connection, one request after the other, alternating rounds."""
    names = [f"{kind}-{routing}" for kind in ("echo", "funcatron") for routing in ROUTINGS]
    subjects = lab.subjects(*names, "connexion")
    rounds = lab.alternate(
        subjects, lab.plan.latency_rounds, lambda subject: wrk(subject.url("greet"), 1, lab.plan.latency_seconds).p50
    )
    figures = [Figure(f"p50 at c=1/{name}", median(found) * 1e3, "ms") for name, found in rounds.items()]
    for routing in ROUTINGS:
        ratio = paired(rounds[f"funcatron-{routing}"], rounds[f"echo-{routing}"])
        figures.append(Figure(f"p50 at c=1/{routing} : echo-{routing}", ratio, "ratio", GOAL))
    return figures
