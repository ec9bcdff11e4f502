"""How many instances one Func needs: Little's law on exact figures, bounded by CPU and by what its owner wants.

    hosts = (arrival rate × service time + waiting × service time / drain) / (slots × utilisation)

`drain`, in which the backlog should be gone, is the wanted wait, but no shorter than a start or a call takes: instances
that come later, or calls that run longer, cannot help sooner. Counts are totals, so what is starting counts as there.

`utilisation` is at most the wanted one. Small loads vary more than large ones, so of their slots a smaller share may be
busy: a load of L slots gets L + spare × √L ("square-root staffing", Halfin and Whitt 1981; Whitt 1992).

Growing happens at once. Shrinking waits: what the arrival rate called for is kept for the policy's `window`, what a
backlog called for only for its `cooldown` after a start. A wrong shrink costs a start: both grow with its length. And
fewer instances must hold MARGIN times the load, so that a load on the border between two numbers settles on one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from funcatron.tron.scaling.arrivals import expected, observe
from funcatron.tron.scaling.memory import FuncMemory, Window, largest, remember
from funcatron.tron.scaling.snapshot import Basis, FuncPolicy, FuncSnapshot

STARTS_KEPT = 3.0  # what was needed is kept for as long as that many starts take
BLIND = 2.0  # while nothing runs, a backlog at most doubles what the arrival rate calls for: starts may be failing
MARGIN = 1.1  # fewer instances only when so many times the load would fit into them as well: no to and fro
NO_CPU = 1e-6  # cores; a host that uses less is bound by none
ROUNDING = 1e-9  # what floats may be off: 2.0000000001 hosts are two


class Reason(StrEnum):
    """What settled a Func's number of instances."""

    LOAD = "load"  # the formula
    CPU = "cpu"  # the formula, by CPU time
    CORES = "cores"  # more would find no core
    KEPT = "kept"  # needed a short time ago
    BUSY = "busy"  # calls in flight hold them
    FIRST = "first"  # a message waits and there is none
    WARM = "warm"  # the least while in use
    IDLE = "idle"  # no call for long
    UNKNOWN = "unknown"  # a figure is missing
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Need:
    """What one Func needs, and how that came out. None stands for what could not be computed."""

    wanted: int
    reason: Reason
    hosts: float | None = None  # of the formula, before rounding
    utilisation: float | None = None  # of the formula
    rate: float | None = None  # planned for, 1/s
    waiting: int | None = None
    missing: tuple[str, ...] = ()  # unknown figures


@dataclass(frozen=True, slots=True)
class _Load:
    """What the figures call for now, in hosts: by the arrival rate alone, and with the backlog."""

    steady: float
    whole: float
    utilisation: float
    rate: float
    waiting: int
    reason: Reason
    most: int | None  # hosts that find a core
    grow_only: bool  # calls may take longer than is known yet


def need(
    func: FuncSnapshot, before: FuncMemory | None, at: float, period: float, cores: float | None
) -> tuple[Need, FuncMemory]:
    """Return what a Func needs at the time `at`, and what to remember.

    before: what the last decision left; None when this is the first. period: between two decisions, s.
    cores: that there are in all; None if unknown.
    """
    memory = _fresh(func, at) if before is None or before.at > at else before
    level, trend = memory.level, memory.trend
    if func.arrival_rate is not None:
        level, trend = observe(level, trend, func.arrival_rate, at - memory.at)
    steady, whole = memory.steady, memory.whole
    found = _asleep(func, memory) or _unknown(func, memory)
    if found is None:
        load = _load(func, level if level is not None else 0.0, trend, period, cores)
        found, steady, whole = _settled(func, memory, load, at)
    elif found.reason is Reason.IDLE:
        steady = whole = ()
    bounded = _bounded(func, found)
    return bounded, FuncMemory(at, bounded.wanted, level, trend, steady, whole, memory.holds, memory.turn)


def _asleep(func: FuncSnapshot, memory: FuncMemory) -> Need | None:
    """Return the need of a Func that nobody called for long, or ever."""
    if func.waiting != 0 or func.has_work or func.arrival_rate != 0:
        return None
    awake = func.instances > 0 or memory.wanted > 0
    if awake and (func.idle is None or func.idle < func.policy.idle):
        return None
    return Need(0, Reason.IDLE, 0.0, None, 0.0, 0)


def _unknown(func: FuncSnapshot, memory: FuncMemory) -> Need | None:
    """Return the need where a figure is missing: what it was, but a message that waits gets a first instance."""
    figures = {
        "arrival rate": func.arrival_rate,
        "service time": func.service_time,
        "queue depth": func.ready,
        "number of unacked messages": func.unacked,
        "number of calls in flight": func.in_flight,
    }
    missing = tuple(name for name, figure in figures.items() if figure is None)
    if not missing:
        return None
    if func.has_work and memory.wanted == 0:
        return Need(max(1, func.policy.warm), Reason.FIRST, waiting=func.waiting, missing=missing)
    return Need(memory.wanted, Reason.UNKNOWN, waiting=func.waiting, missing=missing)


def _load(func: FuncSnapshot, level: float, trend: float, period: float, cores: float | None) -> _Load:
    """Return what the figures, which are all known, call for."""
    waiting, service = func.waiting, func.service_time
    assert waiting is not None
    assert service is not None
    start = func.start_up or 0.0
    rate = expected(level, trend, start + period)
    drain = max(func.policy.target_wait, start, service.seconds)
    steady_load = rate * service.seconds
    whole_load = steady_load + waiting * service.seconds / drain
    steady, whole = (_slots(load, func.policy) / func.slots for load in (steady_load, whole_load))
    utilisation = whole_load / (whole * func.slots) if whole > 0 else func.policy.utilisation
    if func.running == 0:
        whole = min(whole, BLIND * steady)
    reason, by_cpu = Reason.LOAD, _by_cpu(func, rate)
    if by_cpu > whole:
        whole, reason, utilisation = by_cpu, Reason.CPU, func.policy.utilisation
    most = _most(func, service.seconds, cores)
    grow_only = service.basis is Basis.AT_LEAST
    return _Load(max(steady, by_cpu), whole, utilisation, rate, waiting, reason, most, grow_only)


def _slots(load: float, policy: FuncPolicy) -> float:
    """Return how many slots a load of so many busy ones needs."""
    return max(load / policy.utilisation, load + policy.spare * math.sqrt(load))


def _by_cpu(func: FuncSnapshot, rate: float) -> float:
    """Return how many hosts the CPU time of the calls keeps busy; 0 if that is unknown or no bound."""
    if func.cpu_per_call is None or func.cores_per_instance is None:
        return 0.0
    return rate * func.cpu_per_call / (func.cores_per_instance * func.policy.utilisation)


def _most(func: FuncSnapshot, service: float, cores: float | None) -> int | None:
    """Return how many hosts with all slots busy use all cores: more help nobody. None if unknown or no bound."""
    if cores is None or func.cpu_per_call is None or service <= 0:
        return None
    used = func.slots * min(1.0, func.cpu_per_call / service)
    if func.cores_per_instance is not None:
        used = min(used, func.cores_per_instance)
    return max(1, math.ceil(cores / used - ROUNDING)) if used > NO_CPU else None


def _settled(func: FuncSnapshot, memory: FuncMemory, load: _Load, at: float) -> tuple[Need, Window, Window]:
    """Return the need, with what is kept of earlier ones, and both windows with this one."""
    start = func.start_up or 0.0
    most = load.most if load.most is not None else math.inf
    steady_now, whole_now = int(min(_hosts(MARGIN * load.steady), most)), int(min(_hosts(load.whole), most))
    reason = load.reason if whole_now >= _hosts(load.whole) else Reason.CORES
    steady = remember(memory.steady, at, steady_now, max(func.policy.window, STARTS_KEPT * start))
    whole = remember(memory.whole, at, whole_now, func.policy.cooldown + start)
    options = [
        (whole_now, reason),
        (min(memory.wanted, max(largest(steady), largest(whole))), Reason.KEPT),
        (math.ceil((func.in_flight or 0) / func.slots), Reason.BUSY),
        (max(1, func.policy.warm), Reason.WARM),
        (memory.wanted if load.grow_only else 0, Reason.KEPT),
    ]
    wanted, why = max(options, key=lambda option: option[0])  # of equals the first
    return Need(wanted, why, load.whole, load.utilisation, load.rate, load.waiting), steady, whole


def _hosts(exact: float) -> int:
    return math.ceil(exact - ROUNDING)


def _bounded(func: FuncSnapshot, found: Need) -> Need:
    """Return the need within the owner's bounds."""
    policy = func.policy
    if found.wanted < policy.min:
        return replace(found, wanted=policy.min, reason=Reason.MIN)
    if policy.max is not None and found.wanted > policy.max:
        return replace(found, wanted=policy.max, reason=Reason.MAX)
    return found


def _fresh(func: FuncSnapshot, at: float) -> FuncMemory:
    """Return the memory of a Tron that begins to lead: what runs was wanted, and is not given up for lost memory."""
    count = func.instances
    window: Window = ((at, count),) if count else ()
    return FuncMemory(at, count, None, 0.0, window, window, holds=count > 0)
