"""What user code prints, logs and warns becomes `log` frames with the request id: bounded, never blocking a call."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
import traceback
from functools import partial

from .api import current
from .wire import frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from .wire import Sender

MAX_LINE = 64 * 1024
RATE = 1024 * 1024  # bytes a second that go out; what is above is counted and dropped
BURST = 4 * RATE

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Output:
    """Sends log records. `urge` is called after each, so that a record does not wait for the next answer."""

    def __init__(self, sender: Sender, urge: Callable[[], None]) -> None:
        self._sender = sender
        self._urge = urge
        self._lock = threading.Lock()
        self._budget = float(BURST)
        self._filled = time.monotonic()
        self._dropped = 0
        self._dropped_bytes = 0

    def emit(self, level: str, logger: str, message: str, **more: Any) -> None:
        """Send one record, with the request id and operation of the call that this code runs in."""
        if len(message) > MAX_LINE:
            message = message[:MAX_LINE] + f"… ({len(message) - MAX_LINE} characters cut)"
        record: Dict[str, Any] = {"type": "log", "time": time.time(), "level": level, "logger": logger}
        record["message"] = message
        call = current.get(None)
        if call is not None:
            record["request-id"] = call.context.request_id
            record["operation"] = call.context.operation
        record.update(more)
        data = frame(record)
        if self._allowed(len(data)):
            self._sender.put(data)
            self._urge()

    def _allowed(self, size: int) -> bool:
        """Take `size` bytes from the budget; False when it is used up."""
        with self._lock:
            now = time.monotonic()
            self._budget = min(float(BURST), self._budget + (now - self._filled) * RATE)
            self._filled = now
            if size > self._budget:
                self._dropped += 1
                self._dropped_bytes += size
                return False
            self._budget -= size
            if not self._dropped or self._budget < RATE / 4:
                return True
            lines, size, self._dropped, self._dropped_bytes = self._dropped, self._dropped_bytes, 0, 0
        self._report(lines, size)
        return True

    def settle(self) -> None:
        """Report what was dropped, if something was; called at the end and now and then."""
        with self._lock:
            lines, size, self._dropped, self._dropped_bytes = self._dropped, self._dropped_bytes, 0, 0
        if lines:
            self._report(lines, size)

    def _report(self, lines: int, size: int) -> None:
        text = f"{lines} log lines ({size} bytes) were dropped: more than {RATE} bytes a second"
        record = {"type": "log", "time": time.time(), "level": "warning", "logger": "funcatron.host", "message": text}
        self._sender.put(frame(record))
        self._urge()

    @property
    def dropped(self) -> int:
        """Lines dropped since the last report."""
        return self._dropped


class Stream(io.TextIOBase):
    """Takes the place of sys.stdout or sys.stderr: a record a line. Raw file descriptors are the Runner's to read."""

    def __init__(self, output: Output, name: str) -> None:
        self._output = output
        self._level = "info" if name == "stdout" else "warning"
        self.name = f"<{name}>"
        self._stream = name
        self._number = 1 if name == "stdout" else 2
        self.partial: Dict[int, str] = {}  # by thread: what has no line end yet
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "replace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        key = threading.get_ident()
        before = self.partial.pop(key, "")
        if "\n" not in text and len(before) + len(text) < MAX_LINE:
            self.partial[key] = before + text
            return len(text)
        *lines, rest = (before + text).split("\n")
        for line in lines:
            self._emit(line)
        if rest:
            self.partial[key] = rest
        return len(text)

    def _emit(self, line: str) -> None:
        if line:
            self._output.emit(self._level, self._stream, line, stream=self._stream)

    def flush(self) -> None:
        """Lines go out when they end: a flush in the middle of one does not cut it."""

    def end_line(self) -> None:
        """Send what this thread wrote without a line end; at the end of a call."""
        if self.partial:
            self._emit(self.partial.pop(threading.get_ident(), ""))


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


class Handler(logging.Handler):
    """The root logger's handler."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            more: Dict[str, Any] = {}
            if record.exc_info and record.exc_info[0] is not None:
                more["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            elif record.exc_text:
                more["exception"] = record.exc_text
            if record.stack_info:
                more["stack"] = record.stack_info
            extra = {k: v for k, v in vars(record).items() if k not in _STANDARD}
            if extra:
                more["extra"] = extra
            self._output.emit(record.levelname.lower(), record.name, record.getMessage(), **more)
        except Exception:  # noqa: BLE001 - a wrong logging call must not fail the Func; logging reports it itself
            self.handleError(record)


def install(output: Output, level: str) -> List[Stream]:
    """Send everything of this process to `output`: print, logging, warnings, uncaught traces of threads."""
    streams = [Stream(output, "stdout"), Stream(output, "stderr")]
    sys.stdout, sys.stderr = streams[0], streams[1]
    root = logging.getLogger()
    root.handlers[:] = [Handler(output)]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    threading.excepthook = lambda args: _uncaught(output, args)
    sys.unraisablehook = lambda args: _unraisable(output, args)
    return streams


def _uncaught(output: Output, args: Any) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "?"
    trace = "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)).rstrip()
    text = f"uncaught {args.exc_type.__name__} in thread {name}"
    run = getattr(getattr(args.thread, "funcatron_context", None), "run", None)  # the context that it was started in
    if run is not None:
        run(partial(output.emit, "error", "threading", text, exception=trace))
    else:
        output.emit("error", "threading", text, exception=trace)


def _unraisable(output: Output, args: Any) -> None:
    trace = "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)).rstrip()
    what: Optional[str] = args.err_msg or "Exception ignored in"
    output.emit("error", "python", f"{what}: {args.object!r}", exception=trace)
