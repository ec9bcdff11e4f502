"""What every command prints with: text for people, JSON for programs, errors on stderr, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Say = Callable[[str], None]


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    CLIENT_ERROR = 4
    SERVER_ERROR = 5


EXIT_CODES = (
    "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 the Tron or Frontend is not reachable · "
    "4 and 5 (invoke) the Func answered 4xx, 5xx"
)


def console() -> Console:
    """Return a console for stdout. Rich honours NO_COLOR; without a terminal there is neither colour nor folding."""
    return Console(highlight=False, soft_wrap=True)


def error(message: str) -> None:
    """Print an error to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), message))


def say(message: str) -> None:
    """Print a line to stdout."""
    console().print(Text(message))


def emit_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column heads, without lines, as `ps` does."""
    out = console()
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=True, overflow="ignore")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    if not out.is_terminal:
        out = Console(highlight=False, width=1000)
    out.print(made)


def size(number: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def duration(seconds: float) -> str:
    """Return a number of seconds for people."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
