"""Logging: one JSON object a line, the same fields from every part."""

from __future__ import annotations

import logging
import sys
from typing import IO, Any

from pythonjsonlogger.json import JsonFormatter

FIELDS = ("request-id", "sha", "operation")


class LineFormatter(JsonFormatter):
    """Formats a record as `time level component request-id sha operation message`, then whatever else was bound.

    Values of a record's `extra` keep their kebab-case names; absent ones are left out.
    """

    def __init__(self, component: str) -> None:
        super().__init__("%(message)s", json_ensure_ascii=False)
        self.component = component

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Put the standard fields first, in one order; the rest follows."""
        rest: dict[str, Any] = {}
        super().add_fields(rest, record, message_dict)
        message = rest.pop("message", "")
        log_data["time"] = self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z"
        log_data["level"] = record.levelname.lower()
        log_data["component"] = rest.pop("component", self.component)
        for name in FIELDS:
            value = rest.pop(name, None)
            if value is not None:
                log_data[name] = value
        log_data["message"] = message
        log_data["logger"] = record.name
        log_data.update(rest)


def formatter(component: str) -> LineFormatter:
    """Return the formatter of a component's lines; times are UTC."""
    import time

    made = LineFormatter(component)
    made.converter = time.gmtime
    return made


def setup(component: str, level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Send all logging of this process as JSON lines to `stream` (stderr by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for chatty in ("pika", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("pika.channel").setLevel(logging.ERROR)  # the drivers say themselves what was refused
