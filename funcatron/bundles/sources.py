"""What of a folder goes into a bundle: its files, and the libraries that it asks for."""

from __future__ import annotations

import configparser
import os
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from funcatron.errors import BadBundle

# Left out beside all that begins with a dot: what tools and earlier builds leave behind.
LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv"})
ENDINGS = (".pyc", ".pyo", ".pex", ".egg-info", ".whl")
PROJECT_FILES = frozenset({"pyproject.toml", "setup.cfg", "setup.py", "requirements.txt"})


@dataclass(frozen=True, slots=True)
class Libraries:
    """Requirements of a folder: lines, files of lines, or the folder itself as a project that says so when built."""

    lines: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    project: bool = False


def libraries(folder: Path) -> Libraries:
    """Return what the folder asks for: requirements.txt, else pyproject.toml, else setup.cfg, else nothing.

    Raises BadBundle when such a file cannot be read.
    """
    if (folder / "requirements.txt").exists():
        return Libraries(files=(folder / "requirements.txt",))
    try:
        if (folder / "pyproject.toml").exists():
            project = tomllib.loads((folder / "pyproject.toml").read_text()).get("project")
            if project is not None:
                if "dependencies" in project.get("dynamic", ()):
                    return Libraries(project=True)
                return Libraries(lines=tuple(project.get("dependencies", ())))
        if (folder / "setup.cfg").exists():
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_string((folder / "setup.cfg").read_text())
            asked = parser.get("options", "install_requires", fallback="")
            return Libraries(lines=tuple(line.strip() for line in asked.splitlines() if line.strip()))
    except (tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError) as err:
        raise BadBundle(f"the libraries of {folder.name} cannot be read: {err}") from err
    return Libraries(project=(folder / "setup.py").exists())


def stage(folder: Path, target: Path) -> int:
    """Copy the folder's files to `target`, with `src/` spread at the root; return how many.

    Raises BadBundle for a link that leads out of the folder.
    """
    count = 0
    for source, name in _files(folder):
        inside = Path(*name.parts[1:]) if name.parts[0] == "src" and len(name.parts) > 1 else name
        place = target / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        place.chmod(0o644)
        count += 1
    return count


def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The files to take, and their names in the folder; sorted, so that equal folders give equal bundles."""
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if _taken(here / name))
        for name in sorted(names):
            source = here / name
            if not _taken(source) or (here == folder and name in PROJECT_FILES):
                continue
            if not source.resolve().is_relative_to(root):
                raise BadBundle(f"{source.relative_to(folder)} is a link to something outside of {folder.name}")
            if source.is_file():
                yield source, source.relative_to(folder)


def _taken(path: Path) -> bool:
    name = path.name
    if name.startswith(".") or name in LEFT_OUT or name.endswith(ENDINGS):
        return False
    return not (path.is_dir() and (path / "pyvenv.cfg").exists())
