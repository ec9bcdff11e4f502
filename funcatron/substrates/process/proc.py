"""Processes by identity, from /proc (proc(5)): an id alone may belong to another process by now."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# In the environment of each instance and of what it starts: "COMPONENT/ID/KEY/EPOCH@FOLDER". It is no setting
MARKER = "_FUNCATRON_INSTANCE"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ENDED = frozenset("ZX")
KERNEL_THREAD = 0x00200000  # PF_KTHREAD in the kernel's include/linux/sched.h
EXEC_TRIES, EXEC_PAUSE = 50, 0.005  # s


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its id, and when the kernel started it, in ticks since boot. Pid 0 is no process."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat, as far as it is of use. Times are seconds, also of children that were waited for."""

    identity: Identity
    state: str
    parent: int
    session: int
    kernel: bool
    cpu_seconds: float
    resident_bytes: int
    exit_status: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What the marker in a process's environment says."""

    component: str
    id: str
    key: str
    epoch: int


def parse_stat(text: str) -> Stat:
    """Parse /proc/PID/stat."""
    pid = int(text[: text.index(" ")])
    fields = text[text.rindex(")") + 2 :].split()  # the name in brackets may hold blanks and brackets
    return Stat(
        identity=Identity(pid, int(fields[19])),
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        kernel=bool(int(fields[6]) & KERNEL_THREAD),
        cpu_seconds=sum(map(int, fields[11:15])) / TICKS,
        resident_bytes=int(fields[21]) * PAGE,
        exit_status=int(fields[49]),
    )


def stat(pid: int) -> Stat | None:
    """Return what /proc says of a process, zombies included; None if there is none."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def stats() -> Iterator[Stat]:
    """Yield what /proc says of every process that is no thread of the kernel."""
    for name in filter(str.isdigit, os.listdir(PROC)):
        with suppress(PermissionError):  # /proc may be mounted so that others' processes are private
            found = stat(int(name))
            if found is not None and not found.kernel:
                yield found


def alive(identity: Identity) -> bool:
    """Say whether this very process is there and no zombie."""
    found = stat(identity.pid) if identity.pid else None
    return found is not None and found.identity == identity and found.state not in ENDED


def stopped(identity: Identity) -> bool:
    """Say whether it is stopped by a signal, as by Ctrl-Z or a debugger."""
    found = stat(identity.pid)
    return found is not None and found.identity == identity and found.state in "Tt"


def boot() -> str:
    """Return the id of this boot of the machine: identities of another boot mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def now() -> float:
    """Return seconds since the machine booted, on the clock that all its processes share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def open_fd(identity: Identity) -> int | None:
    """Return a descriptor that becomes readable when this very process ends; None if it has been buried already."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    found = stat(identity.pid)
    if found is None or found.identity != identity:
        os.close(descriptor)
        return None
    return descriptor


def send(identity: Identity, number: signal.Signals) -> None:
    """Send a signal to this very process, if it is still there."""
    descriptor = open_fd(identity)
    if descriptor is None:
        return
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def kill(identity: Identity, mark: str) -> None:
    """Kill a process and what it has started in its session or under its marker, also if it has ended itself."""
    send(identity, signal.SIGKILL)
    seen: set[Identity] = set()
    while family := {it for it in members(identity, mark) if it not in seen}:  # they may have forked meanwhile
        for member in family:
            with suppress(PermissionError):  # one that runs as another user by set-uid
                send(member, signal.SIGKILL)
        seen |= family


def members(identity: Identity, mark: str) -> set[Identity]:
    """Return the other living processes of its session, and those that carry its marker."""
    everything = [it for it in stats() if it.state not in ENDED or it.identity.pid == identity.pid]
    # while any member lives, the kernel gives the session's number to no other process
    recycled = any(it.identity.pid == identity.pid and it.identity != identity for it in everything)
    return {
        it.identity
        for it in everything
        if it.identity.pid != identity.pid
        and ((it.session == identity.pid and not recycled) or environment(it.identity.pid).get(MARKER) == mark)
    }


def bury(identity: Identity) -> int | None:
    """Return how a process ended: its exit code, or the signal's number below zero; None if nobody knows.

    A child of the caller stops being a zombie by that.
    """
    found = stat(identity.pid)
    if found is None or found.identity != identity or found.state not in ENDED:
        return None
    status = found.exit_status
    with suppress(ChildProcessError):  # another process's child
        _, status = os.waitpid(identity.pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status)


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty if it may not be read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
        for _ in range(EXEC_TRIES):
            found = stat(pid)
            if raw or found is None or found.state in ENDED or (PROC / str(pid) / "cmdline").read_bytes():
                break
            time.sleep(EXEC_PAUSE)  # in the middle of execve(2) it has neither; nothing tells when that is over
            raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def marker(mark: Mark, folder: Path) -> str:
    """Return the marker's text."""
    return f"{mark.component}/{mark.id}/{mark.key}/{mark.epoch}@{folder}"


def parse_marker(text: str, folder: Path) -> Mark | None:
    """Parse a marker's text; None if it is of another folder."""
    head, _, where = text.partition("@")
    parts = head.split("/")
    if where != str(folder) or len(parts) != 4 or not parts[3].isdigit():
        return None
    return Mark(parts[0], parts[1], parts[2], int(parts[3]))


def marked(folder: Path) -> dict[Mark, Identity]:
    """Find what runs for a folder, whatever its files say: of each start the process that was first."""
    found: dict[Mark, Identity] = {}
    for it in sorted(stats(), key=lambda it: it.identity.started):
        if it.state in ENDED:
            continue
        mark = parse_marker(environment(it.identity.pid).get(MARKER, ""), folder)
        if mark is not None:
            found.setdefault(mark, it.identity)
    return found


def describe(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "ended (nobody saw how: the Tron that had started it was gone)"
    if code >= 0:
        return f"exited with code {code}"
    names = {int(it): it.name for it in signal.Signals}
    hint = " (out of memory, or somebody killed it)" if code == -signal.SIGKILL else ""
    return f"was killed by {names.get(-code, f'signal {-code}')}{hint}"


def holders(file: Path) -> list[int]:
    """Return the ids of the processes that hold a lock of flock(2) on a file."""
    try:
        inode = file.stat().st_ino
        lines = (PROC / "locks").read_text().splitlines()
    except OSError:
        return []
    held = (line.split() for line in lines if "->" not in line)
    return [int(it[4]) for it in held if it[1] == "FLOCK" and it[5].rpartition(":")[2] == str(inode)]


def names(pids: Iterable[int]) -> str:
    """Say which processes these are: id and command."""
    texts = []
    for pid in pids:
        with suppress(OSError):
            command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            texts.append(f"{pid} ({command[:80]})")
    return ", ".join(texts) or "unknown to us"
