"""A validated JSON document of 10 kB, and 1 MB of bytes there and back, beside Connexion."""

from __future__ import annotations

from benchmarks.figures import Figure, at_least, median
from benchmarks.lab import ROUTINGS, Lab, paired
from benchmarks.load import wrk
from benchmarks.measures.throughput import Case, cpu_figures, one_round
from benchmarks.subjects.base import Subject

GOAL = at_least(1.0)
CASES = {
    "10 kB JSON POST": Case("order", "json.lua", 16),
    "1 MB binary POST and answer": Case("blob", "binary.lua", 4),
}


def bodies(lab: Lab) -> list[Figure]:
    """Each case in alternating rounds of its own."""
    subjects = lab.subjects("connexion", *(f"funcatron-{routing}" for routing in ROUTINGS))
    return [figure for title, case in CASES.items() for figure in one_case(lab, subjects, title, case)]


def one_case(lab: Lab, subjects: list[Subject], title: str, case: Case) -> list[Figure]:
    """Requests a second, their ratios, and where the CPU time goes."""
    for subject in subjects:
        wrk(subject.url(case.operation), case.connections, 1, case.script)  # warm-up
    rounds = lab.alternate(
        subjects, lab.plan.body_rounds, lambda subject: one_round(subject, lab.plan.body_seconds, case)
    )
    rates = {name: [each.rate for each in found] for name, found in rounds.items()}
    figures = []
    for name, found in rounds.items():
        note = f"c={case.connections}, p50 {median(each.p50 for each in found) * 1e3:.1f} ms"
        figures.append(Figure(f"{title}/{name}", median(rates[name]), "req/s", note=note))
    for routing in ROUTINGS:
        ratio = paired(rates[f"funcatron-{routing}"], rates["connexion"])
        figures.append(Figure(f"{title}/{routing} : connexion", ratio, "ratio", GOAL))
    for name, found in rounds.items():
        figures += cpu_figures(f"{title}, CPU a request", name, found)
    return figures
