"""Looks into a bundle in a process of its own: `python -m funcatron.tron.inspection FILE` prints what it found as JSON.

The validators of specs are large and bundles come from anywhere: neither their memory nor a crash shall stay with the
Tron. The process has limits of memory, CPU and time, and an environment without secrets.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

import funcatron
from funcatron.errors import BadBundle, BadSpec, Faults, StoreError

if TYPE_CHECKING:
    from funcatron.spec import Operation

TIME = 120.0
"""How long an inspection may take, s."""

CPU = 60
"""CPU time of an inspection, s."""

MEMORY = 4 * 1024**3
"""Address space of an inspection, bytes."""

OUTPUT = 64 * 1024 * 1024
"""Largest result, bytes."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a bundle is and what its spec says. `document` is the whole spec with its references resolved."""

    kind: str
    name: str
    host: str | None
    base_path: str
    title: str = ""
    version: str = ""
    operations: tuple[Mapping[str, Any], ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)


class Inspector(Protocol):
    """Something that can look into a bundle."""

    async def __call__(self, path: Path) -> Inspection:
        """Raises BadBundle or BadSpec with everything that is wrong, StoreError when it could not look."""


async def inspect(path: Path) -> Inspection:
    """Inspect a bundle in another process. Raises BadBundle or BadSpec, and StoreError when that process failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIME)
    except TimeoutError as err:
        raise BadBundle(f"the bundle could not be inspected within {TIME:g} s") from err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _result(process.returncode, output, errors)


def _result(status: int | None, output: bytes, errors: bytes) -> Inspection:
    if status != 0 or len(output) > OUTPUT:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {status}"]
        raise StoreError(f"the bundle could not be inspected: {last[0]}")
    found = orjson.loads(output)
    fault = found.get("fault")
    if fault == "spec":
        raise BadSpec(found["message"], found["problems"])
    if fault is not None:
        raise BadBundle(found["message"])
    return Inspection(**{**found, "operations": tuple(found["operations"])})


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME") if name in os.environ}
    package = str(Path(funcatron.__file__).resolve().parent.parent)
    return {**kept, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}


def look(path: Path) -> dict[str, Any]:
    """Inspect a bundle here and now; returns what `inspect` makes of it, as JSON."""
    from funcatron import bundles, spec  # large: only this process pays for them

    try:
        bundle = bundles.recognise(path)
        api = spec.load(bundle.spec_files, bundle.entry)
    except BadSpec as err:
        return {"fault": "spec", "message": err.summary, "problems": list(err.problems)}
    except (BadBundle, Faults) as err:
        return {"fault": "bundle", "message": str(err).replace(path.name, "the file")}  # the spool's name says nothing
    operations = [_operation(one) for one in api.operations]
    return {
        "kind": bundle.kind,
        "name": api.name,
        "host": api.host,
        "base_path": api.base_path,
        "title": api.title,
        "version": api.version,
        "operations": operations,
        "document": api.document,
    }


def _operation(one: Operation) -> dict[str, Any]:
    """Return what is kept of an operation; of how it is to be run only what the spec says."""
    found: dict[str, Any] = {"id": one.id, "method": one.method.upper(), "path": one.path, "timeout": one.timeout}
    if one.concurrency is not None:
        found["concurrency"] = one.concurrency
    if one.instances is not None:
        found["instances"] = {"min": one.instances.min, "max": one.instances.max}
    if one.queue_limit is not None:
        found["queue-limit"] = one.queue_limit
    return found


def main() -> int:
    """Print what is in the bundle that the command line names."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    found = look(Path(sys.argv[1]))
    sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
