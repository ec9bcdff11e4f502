"""A validated JSON document of 10 kB, and 1 MB of bytes there and back, beside Connexion."""

from __future__ import annotations

from benchmarks.figures import Figure, at_least, median
from benchmarks.lab import ROUTINGS, Lab, paired
from benchmarks.load import wrk

GOAL = at_least(1.0)
# operation, what it is called in the table, wrk script, connections
CASES = (
    ("order", "10 kB JSON POST", "json.lua", 16),
    ("blob", "1 MB binary POST and answer", "binary.lua", 4),
)


def bodies(lab: Lab) -> list[Figure]:
    """Each case in alternating rounds of its own."""
    subjects = lab.subjects("connexion", *(f"funcatron-{routing}" for routing in ROUTINGS))
    figures = []
    for operation, title, script, connections in CASES:
        for subject in subjects:
            wrk(subject.url(operation), connections, 1, script)  # warm-up
        loads = lab.alternate(
            subjects,
            lab.plan.body_rounds,
            lambda subject, o=operation, c=connections, s=script: wrk(  # type: ignore[misc]
                subject.url(o), c, lab.plan.body_seconds, s
            ),
        )
        rates = {name: [load.rate for load in found] for name, found in loads.items()}
        for name, found in loads.items():
            note = f"c={connections}, p50 {median(load.p50 for load in found) * 1e3:.1f} ms"
            figures.append(Figure(f"{title}/{name}", median(rates[name]), "req/s", note=note))
        for routing in ROUTINGS:
            ratio = paired(rates[f"funcatron-{routing}"], rates["connexion"])
            figures.append(Figure(f"{title}/{routing} : connexion", ratio, "ratio", GOAL))
    return figures
