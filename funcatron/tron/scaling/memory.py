"""What earlier decisions leave behind: smoothed rates, recent recommendations, turns, wakers. Values, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Window = tuple[tuple[float, int], ...]  # (when, how many), counts falling: each may still be the largest of the window


@dataclass(frozen=True, slots=True)
class FuncMemory:
    """Of one Func."""

    at: float  # of the decision that left it
    wanted: int  # what that decision wanted
    level: float | None = None  # smoothed arrival rate, 1/s
    trend: float = 0.0  # its change, 1/s per s
    steady: Window = ()  # recommendations by the arrival rate alone
    whole: Window = ()  # recommendations with the backlog
    holds: bool = False  # whether it had an instance
    turn: float | None = None  # since when it has, or lacks, an instance while too few are to be had


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the whole. An empty one is that of a Tron that begins to lead."""

    funcs: Mapping[str, FuncMemory] = field(default_factory=dict)  # by queue
    wakers: Mapping[str, str] = field(default_factory=dict)  # Runner by queue
    runners: Window = ()
    trons: Window = ()


def remember(window: Window, at: float, count: int, length: float) -> Window:
    """Return the window with one more recommendation, without those that are older than `length` s or outdone."""
    since = at - length
    kept = tuple(entry for entry in window if entry[0] >= since and entry[1] > count and entry[0] <= at)
    return (*kept, (at, count))


def largest(window: Window) -> int:
    """Return the largest recommendation of a window; 0 for an empty one."""
    return window[0][1] if window else 0
