"""The log of an instance: its last lines, and what is done when it is full.

An instance writes straight into its file, as nobody may be there to read from a pipe. So a full file is copied and
cut off at 0, where the instance, which appends, goes on; a line that it writes between the two may be lost.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LIMIT = 20 * 1024 * 1024
BACKUPS = 3
TAIL = 16 * 1024


def size(log: Path) -> int:
    """Return the size of a log, bytes; 0 if there is none."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def tail(log: Path, since: int = 0, lines: int = 10) -> tuple[str, ...]:
    """Return the last lines of what was written after the first `since` bytes; a shorter log was cut off meanwhile."""
    try:
        with log.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            begin = since if since <= end else 0
            stream.seek(max(begin, end - TAIL))
            text = stream.read(TAIL).decode(errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(it for it in text.splitlines() if it.strip())[-lines:]


def rotate(log: Path, limit: int = LIMIT) -> bool:
    """Set a log aside if it is full; return whether it was."""
    if size(log) < limit:
        return False
    for number in range(BACKUPS - 1, 0, -1):
        older = backup(log, number)
        if older.exists():
            older.replace(backup(log, number + 1))
    copy = backup(log, 1)
    with log.open("rb") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        os.truncate(log, 0)
    return True


def remove(log: Path) -> None:
    """Delete a log and its backups."""
    for file in (log, *(backup(log, number) for number in range(1, BACKUPS + 1))):
        file.unlink(missing_ok=True)


def backup(log: Path, number: int) -> Path:
    """Return the name of a backup."""
    return log.with_name(f"{log.name}.{number}")
