"""Thousands of requests that wait in one nginx worker: what each costs in memory, and that all wake."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.crowd import Crowd
from benchmarks.figures import Figure
from benchmarks.lab import Lab
from benchmarks.processes import BenchError, until
from benchmarks.procfs import cpu, rss
from benchmarks.subjects.peers import GREET_QUERY

PATIENCE = 30.0


def waiting(lab: Lab) -> list[Figure]:
    """Halt the Runner, let a crowd ask one worker, weigh it, let the Runner go on, and count the answers."""
    lab.subject("funcatron-direct")
    size = lab.plan.waiting
    front = lab.funcatron.frontend("frontend-waiting", nginx_workers="1", max_waiting=size)
    with lab.until_done(front.stop):
        front.start()
        worker = front.pids()[1]
        url = f"{front.settings.frontend}/bench/greet?{GREET_QUERY}"
        few = Crowd(url, 100)
        with lab.until_done(few.leave):
            few.ask()
            few.collect(PATIENCE)
        before = rss(worker)
        crowd = Crowd(url, size)
        with lab.until_done(crowd.leave):
            with halted(lab.funcatron.pid("runner-1")):
                crowd.ask()
                settle(worker)
                after = rss(worker)
            used = cpu([worker])
            seconds = crowd.collect(PATIENCE)
            used = cpu([worker]) - used
        if crowd.answered != {b"200": size}:
            raise BenchError(f"not all of {size} waiting requests got a 200: {crowd.answered}; e.g. {crowd.examples}")
    group = f"{size:,} waiting requests in one nginx worker"
    return [
        Figure(f"{group}/memory of each", (after - before) / size / 1e3, "kB"),
        Figure(f"{group}/all answered in", seconds, "s"),
        Figure(f"{group}/nginx CPU per wake-up", used / size * 1e6, "µs"),
    ]


@contextmanager
def halted(pid: int) -> Iterator[None]:
    """Stop a process for the time of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def settle(pid: int) -> None:
    """Wait until a process has used no CPU for half a second: then it has worked through all that came."""
    last, since = cpu([pid]), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        now = cpu([pid])
        if now > last + 0.011:  # more than a tick: heart-beats may be
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.5

    if not until(quiet, PATIENCE):
        raise BenchError(f"process {pid} does not come to rest")
