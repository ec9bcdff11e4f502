"""Requests a second at c=64, and where the CPU time of one request goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, at_least, median
from benchmarks.lab import ROUTINGS, Lab, paired
from benchmarks.load import wrk
from benchmarks.plan import CONNECTIONS
from benchmarks.procfs import cpu
from benchmarks.subjects.base import Subject

GOALS = {
    ("direct", "echo"): at_least(0.85),
    ("direct", "connexion"): at_least(1.3),
    ("firehose", "echo"): at_least(1.0),
    ("firehose", "connexion"): at_least(1.0),
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, by which wrk script, on how many connections."""

    operation: str
    script: str
    connections: int


GREET = Case("greet", "report.lua", CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Round:
    """One subject's round: requests a second, p50 in seconds, CPU seconds a request by component."""

    rate: float
    p50: float
    cpu: dict[str, float]


def throughput(lab: Lab) -> list[Figure]:
    """Alternating rounds over all subjects, ratios within each round."""
    names = [f"{kind}-{routing}" for kind in ("echo", "funcatron") for routing in ROUTINGS]
    subjects = lab.subjects(*names, "connexion", "functions-framework")
    rounds = lab.alternate(subjects, lab.plan.rounds, lambda subject: one_round(subject, lab.plan.seconds))
    rates = {name: [each.rate for each in found] for name, found in rounds.items()}
    for name, values in rates.items():
        lab.record_rate(name, median(values))
    figures = [Figure(f"throughput/{name}", median(values), "req/s") for name, values in rates.items()]
    for (routing, other), goal in GOALS.items():
        against = f"echo-{routing}" if other == "echo" else other
        ratio = paired(rates[f"funcatron-{routing}"], rates[against])
        figures.append(Figure(f"throughput/{routing} : {against}", ratio, "ratio", goal))
    figures += [
        Figure(f"p50 at c=64/{name}", median(each.p50 for each in found) * 1e3, "ms") for name, found in rounds.items()
    ]
    for name, found in rounds.items():
        figures += cpu_figures("CPU a request", name, found)
    return figures


def one_round(subject: Subject, seconds: float, case: Case = GREET) -> Round:
    """Load one subject; CPU times are read right before and after."""
    components = subject.components()
    before = {name: cpu(pids) for name, pids in components.items()}
    load = wrk(subject.url(case.operation), case.connections, seconds, case.script)
    used = {name: (cpu(pids) - before[name]) / load.requests for name, pids in components.items() if pids}
    return Round(load.rate, load.p50, used)


def cpu_figures(group: str, name: str, rounds: Sequence[Round]) -> list[Figure]:
    """The CPU time of one request of a subject, component by component."""
    return [
        Figure(f"{group}/{name} {component}", median(each.cpu[component] for each in rounds) * 1e6, "µs")
        for component in rounds[0].cpu
    ]
