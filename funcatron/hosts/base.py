"""The Func host seam: what a language must provide so that the Runner can run bundles in it.

A driver is one folder or file here and a name in `funcatron.hosts.DRIVERS`, by bundle kind. It unpacks a bundle and
says how to start its host; `process.Host` runs that and speaks `protocol` with it, whatever the language.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Prepared:
    """An unpacked bundle. `details` are the driver's own, and are JSON."""

    folder: Path
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a host. `env` is added to the scrubbed environment that each host gets; in `cwd` is the code."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What one host may use; 0 means no limit. Memory is address space in bytes, CPU seconds of its whole life.

    `processes` counts all processes and threads of the host's user, so it is only set for a user of the host's own.
    """

    memory: int = 0
    files: int = 1024
    cpu: int = 0
    processes: int = 1024
    core: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """The unprivileged user that a host runs as, where the Runner is root."""

    uid: int
    gid: int


class HostDriver(ABC):
    """What a language must do. Both methods may be called from several Runners on one machine at once."""

    kind: str

    @abstractmethod
    async def prepare(self, bundle: Path, folder: Path) -> Prepared:
        """Unpack `bundle` into `folder`, once: later calls return what is there.

        Atomic (a crash leaves no half `folder`) and locked between processes; any user can read the result.
        Raises BadBundle with a sentence that says what the bundle needs and what this machine has.
        """

    @abstractmethod
    def command(self, prepared: Prepared) -> Command:
        """Return how to start a host of an unpacked bundle. Does not block."""
