"""Resident memory of each part when it has served and now idles."""

from __future__ import annotations

import time

from benchmarks.figures import Figure, at_most
from benchmarks.lab import ROUTINGS, Lab
from benchmarks.processes import BenchError
from benchmarks.procfs import pss, rss

GOALS_MB = {"tron": at_most(90), "runner": at_most(90), "host": at_most(40), "nginx": at_most(25)}
TITLES = {"tron": "Tron", "runner": "Runner", "host": "Python host", "nginx": "nginx worker"}
MB = 1e6
IDLE_SECONDS = 1.0


def memory(lab: Lab) -> list[Figure]:
    """The largest process of each kind, after the warm-up loads of both routings, idle for a moment."""
    lab.subjects(*(f"funcatron-{routing}" for routing in ROUTINGS))
    time.sleep(IDLE_SECONDS)
    components = {name: list(pids) for name, pids in lab.subject("funcatron-direct").components().items()}
    components["nginx"] = components["nginx"][1:]  # the first is the master
    figures = []
    for name, goal in GOALS_MB.items():
        if not components[name]:
            raise BenchError(f"there is no {TITLES[name]}")
        largest = max(components[name], key=rss)
        note = f"PSS {pss(largest) / MB:.1f} MB"
        figures.append(Figure(f"idle RSS/{TITLES[name]}", rss(largest) / MB, "MB", goal, note))
    return figures
