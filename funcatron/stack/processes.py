"""What runs on this machine, read from /proc: who belongs to a stack, who listens on a port."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# In the environment of everything that a stack starts, with the data folder as its value; no setting, so no FUNCATRON_…
MARKER = "_FUNCATRON_STACK"
PROC = Path("/proc")
LISTEN = "0A"


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it. `started` tells it from a later one with the same id."""

    pid: int
    parent: int
    started: int
    command: str

    def alive(self) -> bool:
        """Is it still there, and no zombie?"""
        now = read(self.pid)
        return now is not None and now.started == self.started


def read(pid: int) -> Process | None:
    """Return the process of that id, or None if there is none (any more) or it is a zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    rest = stat[stat.rindex(")") + 2 :].split()
    if rest[0] in {"Z", "X"}:
        return None
    return Process(pid, int(rest[1]), int(rest[19]), command or f"[{name}]")


def pids() -> Iterator[int]:
    """Yield the ids of all processes."""
    return (int(name) for name in os.listdir(PROC) if name.isdigit())


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty if it may not be read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def of_stack(data: Path) -> list[Process]:
    """Return every process that belongs to the stack in that data folder, but not the caller and its ancestors.

    One belongs to it if its environment carries the marker, if it is a Func host that talks to a socket below the
    folder or an nginx that runs in the folder (neither keeps its environment), or if it is a descendant of such a one.
    """
    found: dict[int, Process] = {}
    for pid in pids():
        process = read(pid)
        if process is not None:
            found[pid] = process
    members = {pid for pid in found if belongs(environment(pid), data) or is_nginx(found[pid], data)}
    children: dict[int, list[int]] = {}
    for process in found.values():
        children.setdefault(process.parent, []).append(process.pid)
    pending = list(members)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in members:
                members.add(child)
                pending.append(child)
    members -= ancestors(os.getpid(), found)
    return sorted((found[pid] for pid in members), key=lambda process: process.pid)


def belongs(environ: dict[str, str], data: Path) -> bool:
    """Does an environment say that its process belongs to the stack in that data folder?"""
    return environ.get(MARKER) == str(data) or environ.get("FUNCATRON_SOCKET", "").startswith(f"{data}/")


def is_nginx(process: Process, data: Path) -> bool:
    """Is it nginx, which writes its title over its environment, and was it started in that data folder?"""
    if not process.command.startswith("nginx: "):
        return False
    try:
        return os.readlink(PROC / str(process.pid) / "cwd") == str(data)
    except OSError:
        return False


def ancestors(pid: int, processes: dict[int, Process]) -> set[int]:
    """Return the process itself and all those above it."""
    line: set[int] = set()
    while pid in processes and pid not in line:
        line.add(pid)
        pid = processes[pid].parent
    return line


def listeners(port: int) -> list[int]:
    """Return the ids of the processes that listen on a TCP port, as far as the caller may see them."""
    wanted = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    return sorted(pid for pid in pids() if wanted and holds(pid, wanted))


def listening_inodes(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on a TCP port."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def holds(pid: int, sockets: set[str]) -> bool:
    """Has a process one of these sockets open?"""
    folder = PROC / str(pid) / "fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(folder / name) in sockets:
                return True
        except OSError:
            continue
    return False


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory; 0 when it has gone."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def wait_until(condition: Callable[[], bool], timeout: float, every: float = 0.05) -> bool:
    """Wait for a condition, at most `timeout` seconds; return whether it came true."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(every)
    return True


def end(processes: Iterable[Process], grace: float = 10.0) -> list[Process]:
    """Ask processes to end, kill those that do not within `grace` seconds; return those that even so remain."""
    left = [process for process in processes if process.alive()]
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for process in left:
            send(process, number)
        left = remaining(left, patience)
    return left


def remaining(started: list[Process], timeout: float) -> list[Process]:
    """Wait until processes have gone, at most `timeout` seconds; return those that have not."""
    wait_until(lambda: not any(process.alive() for process in started), timeout)
    return [process for process in started if process.alive()]


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal, unless the process has gone or another has its id now."""
    if process.alive():
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
