"""The measures: each a function of the lab that returns figures, registered here by the name `--only` takes."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.figures import Figure
from benchmarks.lab import Lab
from benchmarks.measures.bodies import bodies
from benchmarks.measures.latency import latency
from benchmarks.measures.memory import memory
from benchmarks.measures.start import start
from benchmarks.measures.tail import tail
from benchmarks.measures.thousand import thousand
from benchmarks.measures.throughput import throughput
from benchmarks.measures.waiting import waiting

Measure = Callable[[Lab], list[Figure]]

# in the order in which they run
MEASURES: dict[str, Measure] = {
    "memory": memory,
    "throughput": throughput,
    "latency": latency,
    "tail": tail,
    "bodies": bodies,
    "start": start,
    "waiting": waiting,
    "thousand": thousand,
}
