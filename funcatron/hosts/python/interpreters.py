"""Which Pythons this machine has, and which of them a bundle can run on."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging import tags
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from funcatron.errors import BadBundle

OLDEST = (3, 8)
NEWEST = 30  # minor versions that are looked for


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An installed CPython; `path` is the one outside of any virtual environment."""

    path: Path
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"CPython {'.'.join(map(str, self.version))}"


@functools.cache
def own() -> Interpreter:
    """The Runner's own interpreter."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(Path(base).resolve(), (sys.version_info[0], sys.version_info[1], sys.version_info[2]))


def installed() -> Iterator[Interpreter]:
    """All interpreters, the Runner's own first, then the newest first. The others are looked for when they are asked
    for: each must be started once to know its version."""
    yield own()
    yield from _others()


@functools.cache
def _others() -> tuple[Interpreter, ...]:
    found: dict[Path, Interpreter] = {}
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for minor in range(OLDEST[1], NEWEST + 1):
            path = Path(folder, f"python3.{minor}")
            if path.exists() and path.resolve() != own().path and not _in_environment(path):
                interpreter = _ask(path)
                if interpreter is not None and interpreter.path != own().path:
                    found[interpreter.path] = interpreter
    return tuple(sorted(found.values(), key=lambda each: each.version, reverse=True))


def _in_environment(path: Path) -> bool:
    return (path.parent.parent / "pyvenv.cfg").exists()


def _ask(path: Path) -> Interpreter | None:
    """Start what may be an interpreter, or a shim that leads to one; None when it is not a CPython that works."""
    code = "import json, sys; print(json.dumps([sys.implementation.name, sys.executable, *sys.version_info[:3]]))"
    try:
        said = subprocess.run([path, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=10, check=True)
        name, executable, major, minor, micro = json.loads(said.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(Path(executable).resolve(), (major, minor, micro)) if name == "cpython" else None


def choose(
    constraints: Sequence[str], wheels: Iterable[str], candidates: Iterable[Interpreter]
) -> tuple[Interpreter, tuple[str, ...]]:
    """Return the interpreter for a bundle and the wheels of it that fit.

    The Runner's own where it fits, else the newest that does. `constraints` are PEX's, any of which must hold; of each
    project in `wheels` one must fit the interpreter and this platform, the best one is taken. Raises BadBundle.
    """
    wheels = tuple(wheels)
    reasons = []
    for candidate in candidates:
        if not allowed(constraints, candidate):
            reasons.append(f"{candidate}: not the wanted version")
            continue
        fitting, missing = select(wheels, candidate)
        if not missing:
            return candidate, fitting
        reasons.append(f"{candidate}: no fitting wheel of {', '.join(sorted(missing))}")
    wanted = f"Python {' or '.join(constraints)}" if constraints else f"the platform of {_platforms(wheels)}"
    here = next(iter(tags.platform_tags()), "this platform")
    raise BadBundle(f"the PEX needs {wanted}; here on {here} there is {'; '.join(reasons)}")


def allowed(constraints: Sequence[str], interpreter: Interpreter) -> bool:
    """Whether an interpreter holds one of the constraints, such as `CPython>=3.9,<3.12` or `==3.11.*`."""
    version = ".".join(map(str, interpreter.version))
    if interpreter.version < OLDEST:
        return False
    for constraint in constraints:
        name = constraint.rstrip("0123456789.*,<>=!~ ")
        if name.partition("[")[0] not in ("", "CPython"):
            continue
        try:
            if SpecifierSet(constraint[len(name) :]).contains(version, prereleases=True):
                return True
        except InvalidSpecifier as err:
            raise BadBundle(f"the PEX has an interpreter constraint that cannot be read: {constraint!r}") from err
    return not constraints


def select(wheels: Iterable[str], interpreter: Interpreter) -> tuple[tuple[str, ...], set[str]]:
    """Return the best wheel of each project for an interpreter, and the projects that have none."""
    rank = {tag: place for place, tag in enumerate(supported(interpreter.version[:2]))}
    best: dict[str, tuple[int, str]] = {}
    missing = set()
    for wheel in wheels:
        try:
            project, _, _, its = parse_wheel_filename(wheel)
        except InvalidWheelFilename as err:
            raise BadBundle(f"the PEX has a distribution that is not a wheel: {wheel}") from err
        places = [rank[tag] for tag in its if tag in rank]
        if not places:
            missing.add(str(project))
        elif str(project) not in best or min(places) < best[str(project)][0]:
            best[str(project)] = (min(places), wheel)
    return tuple(wheel for _, wheel in best.values()), missing - set(best)


@functools.cache
def supported(version: tuple[int, int]) -> tuple[tags.Tag, ...]:
    """The wheel tags of a CPython on this platform, best first."""
    return (*tags.cpython_tags(version), *tags.compatible_tags(version, interpreter=f"cp{version[0]}{version[1]}"))


def _platforms(wheels: Iterable[str]) -> str:
    return ", ".join(sorted(wheel for wheel in wheels if not wheel.endswith("-none-any.whl"))) or "its wheels"
