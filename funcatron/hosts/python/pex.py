"""Unpacks a PEX into code and a virtual environment, without running any of it.

A PEX (https://docs.pex-tool.org) is a zip with PEX-INFO, the user's files, and under `.deps/` one wheel each library:
an installed one as a folder, or a wheel file. Installing a wheel is copying its files (binary distribution format
specification of PyPA), so that is done here: several times faster than asking pex, which starts an interpreter and
sets up an environment of its own first.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from funcatron.bundles.archive import Archive
from funcatron.errors import BadBundle
from funcatron.hosts.python.interpreters import Interpreter, choose, installed

DEPS = ".deps/"
SKIPPED = (".bootstrap/", "__pex__/", ".prefix/")  # pex's own, at the top
OWN_FILES = ("PEX-INFO", "__main__.py")


def unpack(bundle: Path, folder: Path, final: Path) -> Interpreter:
    """Unpack `bundle` into `folder` (which is to become `final`): `code`, and `env`, a virtual environment.

    Returns the interpreter that was chosen. Raises BadBundle.
    """
    with Archive(bundle) as archive:
        info = read_info(archive)
        interpreter, wheels = choose(info.get("interpreter_constraints") or [], distributions(info), installed())
        site = make_environment(folder, interpreter, final)
        (folder / "code").mkdir()
        chosen = {DEPS + wheel for wheel in wheels}
        for entry in archive.files:
            name = entry.filename
            if name.startswith(DEPS):
                wheel = "/".join(name.split("/", 2)[:2])
                if wheel not in chosen:
                    continue
                if name == wheel:
                    with TemporaryFile(dir=folder) as file:  # a zip file must be seekable, and inside of one it is not
                        archive.copy(entry, file)
                        install_wheel(file, folder / "env", site)
                else:
                    _library_file(archive, entry, name[len(wheel) + 1 :], folder / "env", site)
            elif not name.startswith(SKIPPED) and name not in OWN_FILES:
                archive.extract(entry, folder / "code" / name)
    for script in (folder / "env" / "bin").iterdir():
        if not script.is_symlink():
            _point_at(script, final / "env" / "bin" / "python")
    return interpreter


def _point_at(script: Path, python: Path) -> None:
    """Let a library's script run in the bundle's environment."""
    content = script.read_bytes()
    first, end, rest = content.partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        script.write_bytes(b"#!" + os.fsencode(python) + end + rest)


def read_info(archive: Archive) -> Mapping[str, Any]:
    """Return PEX-INFO. Raises BadBundle."""
    try:
        info = json.loads(archive.read("PEX-INFO", 16 * 1024 * 1024))
    except ValueError as err:
        raise BadBundle(f"its PEX-INFO is not JSON: {err}") from err
    if not isinstance(info, dict) or not isinstance(info.get("distributions", {}), dict):
        raise BadBundle("its PEX-INFO is not an object as pex writes it")
    return info


def distributions(info: Mapping[str, Any]) -> list[str]:
    """The file names of the wheels."""
    return list(info.get("distributions") or {})


def make_environment(folder: Path, interpreter: Interpreter, final: Path) -> Path:
    """Make a virtual environment as PEP 405 has it; return its site-packages."""
    env = folder / "env"
    major, minor, micro = interpreter.version
    site = env / "lib" / f"python{major}.{minor}" / "site-packages"
    site.mkdir(parents=True)
    (env / "bin").mkdir()
    for name in ("python", "python3", f"python{major}.{minor}"):
        (env / "bin" / name).symlink_to(interpreter.path)
    (env / "pyvenv.cfg").write_text(
        f"home = {interpreter.path.parent}\ninclude-system-site-packages = false\nversion = {major}.{minor}.{micro}\n"
    )
    (site / "funcatron-code.pth").write_text(f"{final / 'code'}\n")
    return site


def _library_file(archive: Archive, entry: zipfile.ZipInfo, name: str, env: Path, site: Path) -> None:
    """One file of an installed wheel: pex keeps scripts and data under `.prefix`, and two files of its own."""
    top, _, rest = name.partition("/")
    if top == ".prefix" and rest:
        archive.extract(entry, env / rest, executable=rest.startswith("bin/"))
    elif name != ".layout.json" and not top.endswith(".pex-info"):
        archive.extract(entry, site / name)


def install_wheel(file: IO[bytes], env: Path, site: Path) -> None:
    """Install a wheel file that is inside the PEX: its `.data` folder is spread as the specification says."""
    with Archive(file) as wheel:
        for entry in wheel.files:
            top, _, rest = entry.filename.partition("/")
            if not top.endswith(".data"):
                wheel.extract(entry, site / entry.filename)
                continue
            kind, _, rest = rest.partition("/")
            place = {"purelib": site, "platlib": site, "data": env, "scripts": env / "bin"}.get(kind)
            if place is not None and rest:
                wheel.extract(entry, place / rest, executable=kind == "scripts")


def remove(folder: Path) -> None:
    """Remove a half-made folder."""
    shutil.rmtree(folder, ignore_errors=True)
