"""Log lines off the hot path: records of the Runner and lines of its hosts go through one thread to the stream.

The event loop only appends to a bounded deque. When the reader of the stream is too slow, the oldest lines go, and a
line says how many.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from datetime import UTC, datetime
from typing import IO, Any

import orjson

from funcatron import logs

MOST = 20_000  # lines that may wait
BATCH = 500
PAUSE = 0.02  # lines of so long are written together, s
KNOWN = frozenset({"type", "time", "level", "message", "logger", "request-id", "operation", "sha"})

Line = tuple[str, dict[str, Any]]


class LogPump(logging.Handler):
    """Writes log records, and lines of hosts, from a thread of its own."""

    def __init__(self, component: str, stream: IO[str]) -> None:
        super().__init__()
        self.setFormatter(logs.formatter(component))
        self.dropped = 0
        self._stream = stream
        self._lines: deque[logging.LogRecord | Line] = deque()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. Its text is made now, while its arguments are what they were."""
        record.msg, record.args = record.getMessage(), None
        self._put(record)

    def host_line(self, sha: str, frame: dict[str, Any]) -> None:
        """Queue a `log` frame of a host."""
        self._put((sha, frame))

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._ended.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        super().close()

    def _put(self, line: logging.LogRecord | Line) -> None:
        if len(self._lines) >= MOST:
            self._lines.popleft()
            self.dropped += 1
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._ended.is_set():
                self._ended.wait(PAUSE)
            self._wake.clear()
            while self._lines:
                self._write()
            if self._ended.is_set():
                return

    def _write(self) -> None:
        texts = [self._text(self._lines.popleft()) for _ in range(min(BATCH, len(self._lines)))]
        dropped, self.dropped = self.dropped, 0
        if dropped:
            texts.append(self._text(("", {"level": "warning", "message": f"{dropped} log lines were dropped"})))
        try:
            self._stream.write("\n".join(texts) + "\n")
            self._stream.flush()
        except OSError:
            self.dropped += len(texts)  # said once the stream takes lines again

    def _text(self, line: logging.LogRecord | Line) -> str:
        if isinstance(line, logging.LogRecord):
            return self.format(line)
        return host_text(*line)


def host_text(sha: str, frame: dict[str, Any]) -> str:
    """Return the JSON line of a host's `log` frame: the fields of every line, in their order, then what else it has."""
    seconds = frame.get("time")
    when = datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else datetime.now(UTC)
    line: dict[str, Any] = {
        "time": when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z",
        "level": str(frame.get("level", "info")).lower(),
        "component": "host",
    }
    for name, value in (("request-id", frame.get("request-id")), ("sha", sha), ("operation", frame.get("operation"))):
        if value:
            line[name] = value
    line["message"] = frame.get("message", "")
    line["logger"] = frame.get("logger", "")
    line.update((name, value) for name, value in frame.items() if name not in KNOWN)
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
