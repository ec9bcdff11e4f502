"""What the machine has for a Runner: its cores and memory, or what a control group leaves of them (cgroups(7), v2)."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


@cache
def cores(group: Path = CGROUP) -> float:
    """Return how many cores this process may use; a share of one is possible."""
    usable = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return usable
    return min(usable, int(quota) / int(period)) if quota.isdecimal() else usable


def total_memory(meminfo: Path = MEMINFO, group: Path = CGROUP) -> int | None:
    """Return the memory that may be used, bytes; None: it is not known."""
    known = [each for each in (_meminfo(meminfo, "MemTotal"), _number(group / "memory.max")) if each is not None]
    return min(known, default=None)


def available_memory(meminfo: Path = MEMINFO, group: Path = CGROUP) -> int | None:
    """Return the memory that can still be had, bytes; None: it is not known."""
    known = [_meminfo(meminfo, "MemAvailable")]
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is not None and used is not None:
        known.append(max(0, limit - used))
    return min((each for each in known if each is not None), default=None)


def short_of_memory(kept: int, meminfo: Path = MEMINFO, group: Path = CGROUP) -> bool:
    """Say whether less memory is left than should stay free (`kept`, bytes)."""
    available = available_memory(meminfo, group)
    return available is not None and available < kept


def _meminfo(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        found, _, rest = line.partition(":")
        if found == name:
            return int(rest.split()[0]) * 1024
    return None


def _number(path: Path) -> int | None:
    """Read a file of a control group; None where there is no such limit ("max"), or no control group."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
