"""CPU time and memory of processes, from /proc (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


def parse_stat(text: str) -> tuple[int, float]:
    """Parent's id and CPU seconds (user + system) of a /proc/PID/stat line."""
    # the command in brackets may hold blanks and brackets itself: count from the last one
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) * _TICK


def parse_kb(status: str, key: str) -> int:
    """A `Key:   123 kB` line of /proc/PID/status in bytes; raises KeyError when there is none."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise KeyError(key)


def cpu(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used so far; one that has ended counts 0."""
    total = 0.0
    for pid in pids:
        try:
            total += parse_stat(Path(f"/proc/{pid}/stat").read_text())[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def rss(pid: int) -> int:
    """Resident memory of a process in bytes, shared pages included (what `ps` calls RSS)."""
    return parse_kb(Path(f"/proc/{pid}/status").read_text(), "VmRSS")


def pss(pid: int) -> int:
    """Resident memory in bytes with each shared page divided by those that share it."""
    return parse_kb(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss")


def family(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = parse_stat((entry / "stat").read_text())[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:  # grows while it is walked
        found.extend(sorted(parents.get(member, [])))
    return found


def title(pid: int) -> str:
    """The command line as `ps` shows it; empty for one that has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
