"""Builds a Python bundle: a folder with code, spec and a list of libraries becomes one PEX."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from funcatron.bundles.recognise import MAX_SPEC, SPEC_NAMES, recognise, with_references
from funcatron.bundles.sources import libraries, stage
from funcatron.errors import BadBundle

Progress = Callable[[str], None]


def build(
    folder: Path,
    output: Path,
    progress: Progress | None = None,
    *,
    python: str | None = None,
    platforms: Sequence[str] = (),
) -> Path:
    """Build the bundle of `folder` as the file `output`, and return its path.

    The same files and libraries give the same bytes. `python` is an interpreter to build for, `platforms` are foreign
    ones, as pex names them. `progress` gets a line for each step. Raises BadSpec with every fault of the spec, and
    BadBundle with what pex says when it fails.
    """
    folder, output = Path(folder), Path(output)
    say = progress or (lambda line: None)
    check_spec(folder)
    say("the spec is fine")
    with tempfile.TemporaryDirectory(prefix="funcatron-bundle-") as temporary:
        staging = Path(temporary, "staging")
        say(f"{stage(folder, staging)} files of {folder.name}")
        made = Path(temporary, "bundle.pex")
        _run_pex(_arguments(folder, staging, made, python, platforms), say)
        bundle = recognise(made)
        output.parent.mkdir(parents=True, exist_ok=True)
        _move(made, output)
    say(f"{output}: {bundle.size} bytes, SHA {bundle.sha}")
    return output


def check_spec(folder: Path) -> None:
    """Check the spec of a folder. Raises BadSpec with all faults, BadBundle when there is not exactly one."""
    from funcatron import spec

    if not folder.is_dir():
        raise BadBundle(f"{folder} is no folder")
    found = [name for name in SPEC_NAMES if (folder / name).is_file()]
    if len(found) != 1:
        if found:
            raise BadBundle(f"{folder} has more than one spec: {' and '.join(found)}; keep one")
        raise BadBundle(f"{folder} has no spec: {' or '.join(SPEC_NAMES)}")
    spec.load(with_references(found[0], lambda name: _read(folder, name)), found[0])


def _read(folder: Path, name: str) -> bytes | None:
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return None
    if path.stat().st_size > MAX_SPEC:
        raise BadBundle(f"{name} of {folder} has more than {MAX_SPEC} bytes")
    return path.read_bytes()


def _arguments(folder: Path, staging: Path, output: Path, python: str | None, platforms: Sequence[str]) -> list[str]:
    """The command line of pex. `funcatron` itself is never packed: a host has what Funcs import of it."""
    asked = libraries(folder)
    arguments = ["--output-file", str(output), "--sources-directory", str(staging), "--exclude", "funcatron"]
    arguments += ["--python-shebang", "/usr/bin/env python3", "--no-emit-warnings"]
    for file in asked.files:
        arguments += ["--requirement", str(file)]
    if python is not None:
        arguments += ["--python", python]
    for platform in platforms:
        arguments += ["--platform", platform]
    return arguments + list(asked.lines) + ([str(folder)] if asked.project else [])


def _run_pex(arguments: Sequence[str], say: Progress) -> None:
    last: deque[str] = deque(maxlen=40)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PEX_") or name == "PEX_ROOT"}
    command = [sys.executable, "-m", "pex", "-v", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            line = line.rstrip()
            if line:
                last.append(line)
                say(line)
    if process.returncode:
        raise BadBundle("pex could not build it:\n" + "\n".join(last))


def _move(made: Path, output: Path) -> None:
    """Put the file in its place at once, also when that is on another disk."""
    near = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with open(made, "rb") as source, open(near, "wb") as target:
            while piece := source.read(1024 * 1024):
                target.write(piece)
        near.chmod(0o755)
        near.replace(output)
    finally:
        near.unlink(missing_ok=True)
