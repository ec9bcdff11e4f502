"""Which Pythons this machine has, and which of them a bundle can run on."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging import tags
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from funcatron.errors import BadBundle

OLDEST = (3, 8)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An installed CPython; `path` is the one outside of any virtual environment."""

    path: Path
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"CPython {'.'.join(map(str, self.version))}"


@functools.cache
def installed() -> tuple[Interpreter, ...]:
    """All interpreters, the Runner's own first, then the newest first. Starts each other one once to ask it."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    own = Interpreter(Path(base).resolve(), (sys.version_info[0], sys.version_info[1], sys.version_info[2]))
    found = {own.path: own}
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for minor in range(OLDEST[1], 40):
            path = Path(folder, f"python3.{minor}")
            if path.exists() and path.resolve() not in found and not _in_environment(path):
                version = _ask(path)
                if version is not None:
                    found[path.resolve()] = Interpreter(path.resolve(), version)
    others = sorted((i for i in found.values() if i is not own), key=lambda i: i.version, reverse=True)
    return (own, *others)


def _in_environment(path: Path) -> bool:
    return (path.parent.parent / "pyvenv.cfg").exists()


def _ask(path: Path) -> tuple[int, int, int] | None:
    code = "import sys; print(sys.implementation.name, *sys.version_info[:3])"
    try:
        said = subprocess.run([path, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    name, *numbers = said.stdout.split()
    return (int(numbers[0]), int(numbers[1]), int(numbers[2])) if name == "cpython" and len(numbers) == 3 else None


def choose(
    constraints: Sequence[str], wheels: Iterable[str], candidates: Sequence[Interpreter]
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
