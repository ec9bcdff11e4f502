"""Processes that the bench starts, and how it ends them: each by its own id, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class BenchError(Exception):
    """The bench cannot go on; the text says what is missing or what did not start."""


def free_ports(count: int) -> list[int]:
    """So many different TCP ports on loopback that nobody listens on now."""
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in socks]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def until(ready: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until the answer is yes; False when the time is over."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Process:
    """One child in a session of its own, so that its whole family can be ended by the group's id."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """`folder` takes the log; `env` is added to a small environment (PATH, LANG), not to the caller's."""
        self.name = name
        self.log = folder / f"{name}.log"
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **(env or {})}
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                list(argv),
                env=environment,
                cwd=cwd or folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is the group's as well."""
        return self._popen.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float = 20.0) -> None:
        """Block until `ready()`; raises BenchError with the log's end if the process ends or the time is over."""
        if not until(lambda: self._popen.poll() is not None or ready(), seconds):
            raise BenchError(f"{self.name} was not ready after {seconds:.0f} s:\n{self.tail()}")
        if self._popen.poll() is not None:
            raise BenchError(f"{self.name} ended with {self._popen.returncode}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace: float = 5.0, sign: signal.Signals = signal.SIGTERM) -> None:
        """End the process and what it started: ask, wait, then kill. Idempotent."""
        if self._popen.poll() is None:
            self._popen.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed with its group, below
                self._popen.wait(grace)
        with contextlib.suppress(ProcessLookupError):  # the usual case: nobody is left in the group
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(grace)
