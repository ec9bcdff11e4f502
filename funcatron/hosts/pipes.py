"""Turns what a host's process writes to file descriptors 1 and 2 into log records, with a bound on the rate."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

MAX_LINE = 64 * 1024
RATE = 1024 * 1024  # bytes a second that become records
PAUSE = 0.02  # seconds between reads of one that writes more: it is slowed down, and its lines are dropped

OnLog = Callable[[dict[str, Any]], None]


class Lines:
    """Reads one pipe on the event loop until it ends. `on_log` gets a record a line."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, stream: str, on_log: OnLog) -> None:
        self._loop, self._fd, self._stream, self._on_log = loop, fd, stream, on_log
        self._rest = b""
        self._second = 0.0
        self._taken = 0
        self._dropped = 0
        self._paused: asyncio.TimerHandle | None = None
        self._reporting: asyncio.TimerHandle | None = None
        self.closed = False
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    def _read(self) -> None:
        self._paused = None
        try:
            data = os.read(self._fd, MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._taken = now, 0
        self._taken += len(data)
        if self._taken > RATE:
            self._drop(data)
        else:
            self._split(data)

    def _split(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._rest) >= MAX_LINE:
            self._emit(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]

    def _drop(self, data: bytes) -> None:
        """Count what is over the rate, and read on only after a pause, so that a flood costs the Runner little."""
        self._dropped += len(data) + len(self._rest)
        self._rest = b""
        if self._reporting is None:
            self._reporting = self._loop.call_later(1.0, self._report)
        self._loop.remove_reader(self._fd)
        self._paused = self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._fd, self._read)
        self._read()

    def _emit(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        if text:
            self._on_log(record("info" if self._stream == "stdout" else "warning", text, stream=self._stream))

    def _report(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None
        if self._dropped:
            text = f"{self._dropped} bytes of {self._stream} were dropped: more than {RATE} bytes a second"
            self._on_log(record("warning", text, stream=self._stream))
            self._dropped = 0

    def drain(self) -> None:
        """Read what is there now, e.g. after the process ended. Bounded by the pipe's size."""
        for _ in range(64):
            if self.closed:
                return
            try:
                data = os.read(self._fd, MAX_LINE)
            except OSError:
                return
            if not data:
                self._end()
                return
            self._split(data)

    def close(self) -> None:
        """Stop reading, for good."""
        if not self.closed:
            self._end()

    def _end(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
        else:
            self._loop.remove_reader(self._fd)
        self._emit(self._rest)
        self._rest = b""
        self._report()
        self.closed = True


def record(level: str, message: str, **more: Any) -> dict[str, Any]:
    """Return a log record as a host's `log` frame has it."""
    return {"type": "log", "time": time.time(), "level": level, "logger": "funcatron.host", "message": message, **more}
