"""Log lines of all parts: read from the files of the data folder, filtered, put in order, shown."""

from __future__ import annotations

import heapq
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from funcatron.cli import output
from funcatron.errors import FuncatronError

LEVELS = {"debug": 10, "info": 20, "notice": 20, "warning": 30, "warn": 30, "error": 40, "crit": 50, "critical": 50}
STYLES = {10: "dim", 20: "", 30: "yellow", 40: "red", 50: "bold red"}
STANDARD = ("time", "level", "component", "request-id", "sha", "operation", "message", "logger")
POLL = 0.2
# nginx:           2026/01/31 12:00:00 [error] 1#1: …
# supervisord:     2026-01-31 12:00:00,000 INFO …
# RabbitMQ's boot: 2026-01-31 12:00:00.000+00:00 [info] …
PLAIN = re.compile(
    r"(?P<date>\d{4}[-/]\d\d[-/]\d\d)[ T](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d+))?(?P<zone>[+-]\d\d:\d\d)?"
    r" \[?(?P<level>[A-Za-z]+)\]? (?P<message>.*)"
)


@dataclass(frozen=True)
class Line:
    """One line of a log. `when` is seconds since 1970; a line without a time has that of the one before it."""

    when: float
    level: int
    component: str
    fields: dict[str, Any]
    raw: str = field(compare=False)


@dataclass(frozen=True)
class Filter:
    """Which lines are wanted; None means any."""

    component: str | None = None
    shas: frozenset[str] | None = None
    sha: str | None = None
    request_id: str | None = None
    level: int = 0

    def __call__(self, line: Line) -> bool:
        """Is the line wanted?"""
        sha = str(line.fields.get("sha") or "")
        return (
            line.level >= self.level
            and (
                self.component is None
                or line.component.split("-")[0] == self.component
                or line.component == self.component
            )
            and (
                self.shas is None
                or any(sha and (known.startswith(sha) or sha.startswith(known)) for known in self.shas)
            )
            and (self.sha is None or sha.startswith(self.sha))
            and (self.request_id is None or line.fields.get("request-id") == self.request_id)
        )


def severity(name: str | None) -> int:
    """Return a level's number. Raises FuncatronError for an unknown one."""
    if name is None:
        return 0
    try:
        return LEVELS[name.lower()]
    except KeyError:
        raise FuncatronError(f"{name!r} is no level: use debug, info, warning or error") from None


def parse(raw: str, component: str, before: float = 0.0) -> Line:
    """Return a line of a file: JSON of our parts, or what nginx, the supervisor and Erlang write by themselves."""
    if raw.startswith("{"):
        try:
            fields = json.loads(raw)
        except ValueError:
            fields = None
        if isinstance(fields, dict):
            level = LEVELS.get(str(fields.get("level", "info")).lower(), 20)
            when = seconds(fields.get("time"), before)
            return Line(when, level, str(fields.get("component") or component), fields, raw)
    match = PLAIN.match(raw)
    if match is None:
        return Line(before, 20, component, {"message": raw}, raw)
    when = plain_seconds(match, before)
    return Line(when, LEVELS.get(match["level"].lower(), 20), component, {"message": match["message"]}, raw)


def seconds(value: object, before: float) -> float:
    """Return the seconds of a JSON line's time: ISO 8601, or a number."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return before
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def plain_seconds(match: re.Match[str], before: float) -> float:
    """Return the seconds of a plain line's time, which is local unless it names a zone."""
    part = (match["part"] or "0")[:6].ljust(6, "0")
    text = f"{match['date'].replace('/', '-')}T{match['time']}.{part}{match['zone'] or ''}"
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return before


class Tail:
    """Reads one file from where it stopped, also over rotation."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.component = file.name.removesuffix(".log")
        self.stream: IO[str] | None = None
        self.last = 0.0
        self.rest = ""

    def lines(self) -> Iterator[Line]:
        """Yield the whole lines that were written since the last call."""
        if self.stream is None:
            self.open()
        yield from self.written()
        if self.rotated():
            self.open()
            yield from self.written()

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self.stream is not None:
            self.stream.close()
        self.stream = None

    def open(self) -> None:
        """Open the file at its beginning; a file that is not there (yet) gives no lines."""
        self.close()
        self.rest = ""
        try:
            self.stream = self.file.open(errors="replace")
        except OSError:
            return

    def rotated(self) -> bool:
        """Is another file at this place now, or was it cut?"""
        if self.stream is None:
            return False
        try:
            now = self.file.stat()
        except OSError:
            return False
        return now.st_ino != os.fstat(self.stream.fileno()).st_ino or now.st_size < self.stream.tell()

    def written(self) -> Iterator[Line]:
        """Yield the whole lines from here to the end of the open file."""
        if self.stream is None:
            return
        *whole, self.rest = (self.rest + self.stream.read()).split("\n")
        for raw in whole:
            if raw.strip():
                line = parse(raw, self.component, self.last)
                self.last = line.when
                yield line


def show(folder: Path, wanted: Filter, last: int, *, follow: bool, raw: bool) -> None:
    """Print the wanted lines of all logs in a folder: the `last` ones (0: all), then, if asked, what comes.

    Ends with Ctrl-C when it follows. Raises FuncatronError if there are no logs.
    """
    if not folder.is_dir():
        raise FuncatronError(f"there are no logs in {folder}: nothing was ever started there (`make up`)")
    tails: dict[Path, Tail] = {}
    printer = Printer(raw)
    try:
        lines = gather(folder, tails, wanted)
        printer.show(lines[-last:] if last else lines)
        while follow:
            time.sleep(POLL)
            printer.show(gather(folder, tails, wanted))
    finally:
        for tail in tails.values():
            tail.close()


def gather(folder: Path, tails: dict[Path, Tail], wanted: Filter) -> list[Line]:
    """Return what is new and wanted in all files, in the order of time."""
    for file in sorted(folder.glob("*.log")):
        tails.setdefault(file, Tail(file))
    streams = [[line for line in tail.lines() if wanted(line)] for tail in tails.values()]
    return list(
        heapq.merge(*(sorted(lines, key=lambda line: line.when) for lines in streams), key=lambda line: line.when)
    )


class Printer:
    """Prints lines: raw, or for people in columns."""

    def __init__(self, raw: bool) -> None:
        self.raw = raw
        self.console: Console = output.console()

    def show(self, lines: Iterable[Line]) -> None:
        """Print lines and flush, so that a pipe gets them at once."""
        for line in lines:
            if self.raw:
                sys.stdout.write(line.raw + "\n")
            else:
                self.console.print(render(line))
        sys.stdout.flush()


def render(line: Line) -> Text:
    """Return a line for people: time, level, component, ids, message, then whatever else it carries."""
    fields = line.fields
    moment = datetime.fromtimestamp(line.when).strftime("%H:%M:%S.%f")[:-3] if line.when else "-" * 12
    level = next((name for name, number in LEVELS.items() if number == line.level), "info")
    text = Text.assemble(
        (f"{moment} ", "dim"), (f"{level:<7} ", STYLES[line.level]), (f"{line.component:<10} ", "cyan")
    )
    if fields.get("request-id"):
        text.append(f"[{fields['request-id']}] ", "magenta")
    if fields.get("sha"):
        text.append(f"{str(fields['sha'])[:8]} ", "blue")
    if fields.get("operation"):
        text.append(f"{fields['operation']} ", "green")
    text.append(str(fields.get("message", "")), STYLES[line.level])
    rest = {name: value for name, value in fields.items() if name not in STANDARD and name != "exc_info"}
    if rest:
        text.append(" " + " ".join(f"{name}={compact(value)}" for name, value in rest.items()), "dim")
    for name in ("exception", "exc_info"):
        if fields.get(name):
            text.append("\n" + str(fields[name]).rstrip(), "red")
    return text


def compact(value: object) -> str:
    """Return a value for a line."""
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
