"""What is on record of a component: the wanted number, the epoch, who looks after it, and each instance. Values only.

Times are seconds since boot. A record of another boot tells what was wanted; its processes are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from funcatron.substrates.process.proc import Identity

NOBODY = Identity(0, 0)


class Stage(StrEnum):
    """Where an entry is. `waiting` ones have no process, `running` and `leaving` ones have."""

    WAITING = "waiting"
    RUNNING = "running"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance. `key` names its present start; `since` is when its stage began."""

    id: str
    stage: Stage
    since: float
    process: Identity = NOBODY
    key: str = ""
    epoch: int = 0
    argv: tuple[str, ...] = ()
    starts: int = 0
    failures: int = 0
    """Starts in a row that ended unasked."""
    retry_at: float = 0.0
    asking: bool = False
    """Whether a leaving one is being sent its SIGTERM."""
    asked: bool = False
    """Whether that was sent. If not, though it is `asking`, then whoever was to do it died: nobody knows."""
    deadline: float = 0.0
    """When a leaving one is killed, or asked again if nobody knows whether it was asked."""
    killed: bool = False
    """Whether it had to be."""
    log_from: int = 0
    """Size of its log when it was started, bytes."""
    reason: str = ""
    said: tuple[str, ...] = ()
    """The last lines that it wrote before it ended."""

    @property
    def staying(self) -> bool:
        """Whether it counts: it runs, or is to be started (again)."""
        return self.stage in (Stage.WAITING, Stage.RUNNING)


@dataclass(frozen=True, slots=True)
class Keeper:
    """The client that looks after a component's instances: its process, and a key, since a process may have several."""

    process: Identity = NOBODY
    key: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """Everything about one component. Staying entries are as many as wanted."""

    component: str
    boot: str
    wanted: int = 0
    epoch: int = 0
    keeper: Keeper = Keeper()
    entries: tuple[Entry, ...] = ()
    version: Literal[1] = 1

    def entry(self, instance: str) -> Entry | None:
        """Return the entry of an instance, if there is one."""
        return next((it for it in self.entries if it.id == instance), None)

    def with_entry(self, entry: Entry) -> Record:
        """Return the record with another entry in the place of the one of the same id."""
        return replace(self, entries=tuple(entry if it.id == entry.id else it for it in self.entries))

    @property
    def staying(self) -> tuple[Entry, ...]:
        """The entries that count."""
        return tuple(it for it in self.entries if it.staying)


_RECORD = TypeAdapter(Record)


def to_json(record: Record) -> bytes:
    """Return the record as JSON."""
    return _RECORD.dump_json(record, indent=1)


def from_json(text: bytes) -> Record:
    """Return the record that a text holds. Raises ValueError for one that is damaged, or of another version."""
    try:
        return _RECORD.validate_json(text)
    except ValidationError as err:
        first = err.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}") from err
