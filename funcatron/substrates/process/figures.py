"""What instances and this machine use, from /proc (proc(5)) and the control groups (cgroups(7), both versions)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from funcatron.substrates.base import Machine
from funcatron.substrates.process.proc import PROC, TICKS, Stat

GROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60  # version 1 says "no limit" by a number near 2^63


def families(pids: Iterable[int], everything: Iterable[Stat]) -> dict[int, list[Stat]]:
    """Return each of these processes with all its descendants. One that has gone is not in the result."""
    by_pid = {it.identity.pid: it for it in everything}
    children: dict[int, list[int]] = {}
    for it in by_pid.values():
        children.setdefault(it.parent, []).append(it.identity.pid)
    found = {}
    for pid in pids:
        if pid in by_pid:
            line = [pid]
            for member in line:  # grows while it is walked
                line += children.get(member, ())
            found[pid] = [by_pid[it] for it in line]
    return found


def machine(groups: Path = GROUPS) -> Machine:
    """Return what this machine has, or the container that we are in, and what is used of it."""
    memory = _memory_info()
    total, available = memory["MemTotal"], memory["MemAvailable"]
    limit, used = memory_limit(os.getpid(), groups), memory_used(os.getpid(), groups)
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used))
    fields = [int(it) for it in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
    busy = sum(fields) - sum(fields[3:5]) - sum(fields[8:])  # not idle, not waiting; guests are in user already
    return Machine(cores(groups), busy / TICKS, total, available)


def cores(groups: Path = GROUPS) -> float:
    """Return how many cores this process may use: those it may run on, or what its groups allow of them."""
    quotas = [quota for folder in _folders(os.getpid(), "cpu", groups) if (quota := _quota(folder)) is not None]
    return min([float(len(os.sched_getaffinity(0))), *quotas])


def memory_limit(pid: int, groups: Path = GROUPS) -> int | None:
    """Return the lowest limit of a process's memory groups, bytes; None if there is none."""
    names = ("memory.max", "memory.limit_in_bytes")
    texts = [_read(folder / name) for folder in _folders(pid, "memory", groups) for name in names]
    limits = [int(it) for it in texts if it.isdigit()]
    return min((it for it in limits if it < UNLIMITED), default=None)


def memory_used(pid: int, groups: Path = GROUPS) -> int:
    """Return what the group with the lowest limit uses, bytes; without files that can be dropped; 0 if none has."""
    found = []
    for folder in _folders(pid, "memory", groups):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            texts = _read(folder / limit), _read(folder / usage)
            if all(it.isdigit() for it in texts):
                found.append((int(texts[0]), max(0, int(texts[1]) - _droppable(folder))))
    return min(found, default=(0, 0))[1]


def _droppable(folder: Path) -> int:
    lines = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
    return int(lines.get("total_inactive_file") or lines.get("inactive_file") or 0)


def _folders(pid: int, controller: str, groups: Path) -> list[Path]:
    """Return the folders of a process's group and those above it, in both versions' trees."""
    folders: list[Path] = []
    for line in _read(PROC / str(pid) / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        roots = [groups / controller] if controllers else [groups, groups / "unified"]
        for root in roots:
            inner = root / path.strip("/")
            folders += [it for it in (inner, *inner.parents) if it == root or root in it.parents]
    return folders


def _quota(folder: Path) -> float | None:
    texts = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us"),
        _read(folder / "cpu.cfs_period_us"),
    ]
    return int(texts[0]) / int(texts[1]) if all(it.isdigit() for it in texts) and int(texts[1]) else None


def _memory_info() -> dict[str, int]:
    lines = (line.split() for line in (PROC / "meminfo").read_text().splitlines())
    return {it[0].rstrip(":"): int(it[1]) * 1024 for it in lines if len(it) == 3}


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # gone, or a tree that is not there
        return ""
