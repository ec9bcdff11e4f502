"""What all messages have in common."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from typing import Any

VERSION = 1
"""Version of the messages that this release writes."""

_prefix = ""
_count = itertools.count()


def message_id() -> str:
    """Return a new id in the form of a UUID: random for the process, counted within it. A call to the system for each
    message would cost more than all the rest of its head."""
    if not _prefix:
        _renew()
    return f"{_prefix}{next(_count) & 0xFFFFFFFFFFFF:012x}"


def _renew() -> None:
    global _prefix, _count
    _prefix = str(uuid.uuid4())[:24]
    _count = itertools.count(int.from_bytes(os.urandom(4), "big"))


def _forget() -> None:
    global _prefix
    _prefix = ""


os.register_at_fork(after_in_child=_forget)


def head(action: str, sender: str) -> dict[str, Any]:
    """Return the fields that every message begins with."""
    return {
        "action": action,
        "msg-id": message_id(),
        "from": sender,
        "at": time.time_ns() // 1_000_000,
        "version": VERSION,
    }
