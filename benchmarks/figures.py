"""Figures of a run: a value, its goal and whether it is met; the table and the JSON that are made of them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values in ascending order; raises ValueError when there are none."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Iterable[float]) -> float:
    """The median of rounds, which one disturbed round does not move."""
    return statistics.median(values)


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound: `at_least` or at most."""

    bound: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Whether a value is on the right side of the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def at_least(bound: float) -> Goal:
    """A goal from below."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """A goal from above."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. Names are `measure/what`, units in words (`req/s`, `ms`, `MB`, `ratio`, `µs`)."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        return None if self.goal is None else self.goal.met(self.value)

    def as_json(self) -> dict[str, Any]:
        """As it stands in var/bench.json."""
        goal = None if self.goal is None else str(self.goal)
        fields: dict[str, Any] = {"name": self.name, "value": rounded(self.value), "unit": self.unit}
        fields |= {"goal": goal, "met": self.met}
        return fields | ({"note": self.note} if self.note else {})


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    if not math.isfinite(value) or value == 0:
        return value
    digits = 3 - math.floor(math.log10(abs(value)))
    return round(value, digits) if digits > 0 else float(round(value))


def shown(value: float) -> str:
    """A value for the table."""
    return f"{rounded(value):,.0f}" if abs(value) >= 1000 else f"{rounded(value):g}"


def table(figures: Sequence[Figure]) -> str:
    """Lines of name, value, unit, goal and verdict, a blank line between measures."""
    rows = [("figure", "value", "unit", "goal", "", "")]
    for figure in figures:
        verdict = {True: "met", False: "NOT MET", None: ""}[figure.met]
        rows.append((figure.name, shown(figure.value), figure.unit, str(figure.goal or ""), verdict, figure.note))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines, before = [], ""
    for row in rows:
        measure = row[0].partition("/")[0]
        if before and measure != before:
            lines.append("")
        before = measure
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1])]
        cells += [row[column].ljust(widths[column]) for column in range(2, 6)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], machine: dict[str, Any]) -> str:
    """The text of var/bench.json."""
    content = {"figures": [figure.as_json() for figure in figures], "machine": machine}
    return json.dumps(content, indent=2, ensure_ascii=False)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text + "\n")
    temporary.replace(path)
