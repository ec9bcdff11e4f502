"""One plain sentence that says why a Func gets its instances."""

from __future__ import annotations

from funcatron.tron.scaling.instances import Need, Reason
from funcatron.tron.scaling.snapshot import Basis, FuncSnapshot


def why(func: FuncSnapshot, need: Need, instances: int, placed: int | None) -> str:
    """Return the sentence for a Func: what was measured, what the formula makes of it, and what else counted."""
    text = _sentence(func, need)
    if instances < need.wanted:
        text += f", of which its fair share of the total is {instances}"
    if placed is not None and placed < instances:
        text += f", of which {instances - placed} found no room on a Runner"
    return text


def _sentence(func: FuncSnapshot, need: Need) -> str:
    count = _instances(need.wanted)
    if need.missing:
        are = "is" if len(need.missing) == 1 else "are"
        return f"the {_listed(need.missing)} {are} unknown: {_unknown(func, need, count)}"
    if need.reason is Reason.IDLE:
        idle = f"for {func.idle:.0f} s" if func.idle is not None else "yet"
        return f"no call {idle}: {count}"
    formula = _formula(func, need)
    match need.reason:
        case Reason.MIN:
            return f"{formula}: {count}, the wanted minimum"
        case Reason.MAX:
            return f"{formula}: {count}, the allowed maximum"
        case Reason.CORES:
            return f"{formula}: {count}, more would find no core"
        case Reason.KEPT:
            return f"{formula}: {count}, as was needed a short time ago"
        case Reason.BUSY:
            return f"{formula}: {count}, that many are busy"
        case Reason.WARM:
            return f"{formula}: {count}, kept while the Func is in use"
        case _:
            return f"{formula}: {count}"


def _unknown(func: FuncSnapshot, need: Need, count: str) -> str:
    if need.reason is Reason.FIRST:
        return f"messages wait and no instance is there: {count}"
    if need.reason is Reason.MIN:
        return f"{count}, the wanted minimum"
    if need.reason is Reason.MAX:
        return f"{count}, the allowed maximum"
    return f"nothing changes, {count}"


def _formula(func: FuncSnapshot, need: Need) -> str:
    if need.hosts is None or need.rate is None or func.service_time is None:
        return f"{need.waiting} waiting"
    service = func.service_time
    at_least = "at least " if service.basis is Basis.AT_LEAST else ""
    slots = "1 slot" if func.slots == 1 else f"{func.slots} slots"
    hosts = "host" if f"{need.hosts:.1f}" == "1.0" else "hosts"
    cpu = ""
    if need.reason is Reason.CPU and func.cpu_per_call is not None:
        cpu = f" with {_seconds(func.cpu_per_call)} of CPU time each"
    return (
        f"{need.rate:.1f} calls/s × {at_least}{_seconds(service.seconds)}{cpu} + {need.waiting} waiting need "
        f"{need.hosts:.1f} {hosts} of {slots} at {(need.utilisation or 1) * 100:.0f} %"
    )


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.1f} ms"


def _instances(count: int) -> str:
    return "no instance" if count == 0 else "1 instance" if count == 1 else f"{count} instances"


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
