"""How many Runners and how many Trons the substrate should run, and which Runner goes first.

Runners follow from the memory and cores that the wanted instances need, and from what found no room. Trons follow from
the firehose by the law of instances: (arrival rate + backlog / drain) × CPU seconds of a message / utilisation.
Both grow at once and shrink only when nothing in a long window wanted more; an unknown figure changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from funcatron.tron.scaling.memory import Window, largest, remember
from funcatron.tron.scaling.placement import Asked, Placement
from funcatron.tron.scaling.snapshot import Firehose, RunnerSnapshot, Totals

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RunnersDecision:
    """How many Runners should run (None: as many as there are), which one to drain, and why."""

    count: int | None
    drain: str | None
    why: str


@dataclass(frozen=True, slots=True)
class TronsDecision:
    """How many Trons should run (None: as many as there are), and why."""

    count: int | None
    why: str


@dataclass(frozen=True, slots=True)
class _Demand:
    """What hosts need, what a Runner has, and the memory of hosts that found no room; bytes and cores."""

    memory: float
    cores: float
    memory_each: float
    cores_each: float
    left_over: float
    certain: bool  # the CPU time of all calls is known

    def runners(self, fill: float) -> float:
        """Return how many Runners that fills."""
        return max(self.memory / (self.memory_each * fill), self.cores / (self.cores_each * fill))


def runners_wanted(
    asked: Sequence[Asked],
    placement: Placement,
    runners: Sequence[RunnerSnapshot],
    totals: Totals,
    window: Window,
    at: float,
) -> tuple[RunnersDecision, Window]:
    """Return how many Runners should run, and the window of recommendations.

    asked: what all Funcs want, before any cap. placement: what came of it.
    """
    if totals.runners is None:
        return RunnersDecision(None, None, "the substrate is not scaled"), window
    taking = [runner for runner in runners if runner.takes_hosts()]
    demand = _demand(asked, placement, taking)
    if demand is None:
        count = _between(totals.runners, totals.min_runners, totals.max_runners)
        return RunnersDecision(count, None, "the memory or the cores of a Runner are unknown: nothing changes"), window
    now = math.ceil(demand.runners(totals.fill) - ROUNDING)
    if demand.left_over:
        now = max(now, len(taking) + math.ceil(demand.left_over / demand.memory_each - ROUNDING))
    if not demand.certain:
        now = max(now, totals.runners)
    kept = _remembered(window, at, now, totals.runner_window, totals.runners)
    count = _between(largest(kept), totals.min_runners, totals.max_runners)
    drain = _drain(taking, runners, count, asked) if count < totals.runners else None
    return RunnersDecision(count, drain, _why(demand, totals, now, count)), kept


def _demand(asked: Sequence[Asked], placement: Placement, taking: Sequence[RunnerSnapshot]) -> _Demand | None:
    """Return the demand; None when there is no Runner, or one's memory or cores are unknown."""
    memory = [runner.memory_total for runner in taking if runner.memory_total]
    cores = [runner.cores_total for runner in taking if runner.cores_total]
    if not taking or len(memory) < len(taking) or len(cores) < len(taking):
        return None
    size = {a.queue: a.size for a in asked}
    return _Demand(
        memory=sum(a.count * a.size for a in asked),
        cores=sum(a.count * (a.cores or 0.0) for a in asked),
        memory_each=sum(memory) / len(memory),
        cores_each=sum(cores) / len(cores),
        left_over=sum(count * size[queue] for queue, count in placement.unplaced.items()),
        certain=all(a.cores is not None for a in asked if a.count),
    )


def _why(demand: _Demand, totals: Totals, now: int, count: int) -> str:
    needed = (
        f"{_mib(demand.memory)} and {demand.cores:.1f} cores for hosts need {demand.runners(totals.fill):.1f} Runners "
        f"of {_mib(demand.memory_each)} and {demand.cores_each:.1f} cores at {totals.fill * 100:.0f} %"
    )
    if demand.left_over:
        needed += f", {_mib(demand.left_over)} found no room"
    if not demand.certain:
        needed += ", the CPU time of some calls is unknown, so none goes"
    if count > now >= totals.min_runners:
        return f"{needed}: {count} Runners, as was needed in the last {totals.runner_window:.0f} s"
    return f"{needed}: {count} Runners"


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"


def _drain(
    taking: Sequence[RunnerSnapshot], runners: Sequence[RunnerSnapshot], count: int, asked: Sequence[Asked]
) -> str | None:
    """Return the Runner whose going costs the fewest moves, then the fewest calls in flight. One at a time."""
    if len(taking) <= count or any(runner.draining for runner in runners):
        return None
    size = {a.queue: a.size for a in asked}
    victim = min(taking, key=lambda r: (sum(r.hosts.values()), math.inf if r.in_flight is None else r.in_flight, r.id))
    needed = sum(count * size.get(queue, 0) for queue, count in victim.hosts.items())
    room = sum(runner.memory_free or 0 for runner in taking if runner is not victim)
    return victim.id if needed <= room else None


def trons_wanted(firehose: Firehose, totals: Totals, window: Window, at: float) -> tuple[TronsDecision, Window]:
    """Return how many Trons should run, and the window of recommendations."""
    trons, rate, ready, seconds = firehose.trons, firehose.arrival_rate, firehose.ready, firehose.seconds_per_message
    if trons is None or rate is None or ready is None or seconds is None:
        count = None if trons is None else _between(trons, totals.min_trons, totals.max_trons)
        return TronsDecision(count, "a figure of the firehose is unknown: nothing changes"), window
    needed = (rate + ready / totals.tron_target_wait) * seconds / totals.tron_utilisation
    now = max(1, math.ceil(needed - ROUNDING))
    kept = _remembered(window, at, now, totals.runner_window, trons)
    count = _between(largest(kept), totals.min_trons, totals.max_trons)
    why = (
        f"{rate:.0f} messages/s + {ready} waiting × {seconds * 1e6:.0f} µs need {needed:.1f} Trons at "
        f"{totals.tron_utilisation * 100:.0f} % of a core: {count}"
        + (f", as was needed in the last {totals.runner_window:.0f} s" if count > now >= totals.min_trons else "")
    )
    return TronsDecision(count, why), kept


def _remembered(window: Window, at: float, now: int, length: float, there: int) -> Window:
    """Return the window with one more recommendation.

    Without a window, or with one of another clock, a Tron begins to lead: what runs is not given up for lost memory.
    """
    if not window or window[-1][0] > at:
        return ((at, max(there, now)),)
    return remember(window, at, now, length)


def _between(count: int, least: int, most: int | None) -> int:
    return max(least, count if most is None else min(count, most))
