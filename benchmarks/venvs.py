"""The peers' own virtual environments under var/bench/, kept between runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import BenchError


class Venv:
    """One virtual environment with what a peer needs, made at the first use."""

    def __init__(self, folder: Path, requirements: Sequence[str]) -> None:
        self._folder, self._requirements = folder, list(requirements)

    def ensure(self) -> None:
        """Make it unless it is there with the same requirements; raises BenchError with pip's words."""
        stamp = self._folder / "bench-requirements.json"
        wanted = json.dumps(self._requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"installing {', '.join(self._requirements)} in {self._folder}", file=sys.stderr)
        self._run([sys.executable, "-m", "venv", str(self._folder)])
        self._run([str(self.binary("python")), "-m", "pip", "install", "--quiet", *self._requirements])
        stamp.write_text(wanted)

    def binary(self, name: str) -> Path:
        """A program of the environment."""
        return (self._folder / "bin" / name).absolute()

    def version(self, package: str) -> str:
        """The installed version of a package."""
        code = f"from importlib.metadata import version; print(version({package!r}))"
        return self._run([str(self.binary("python")), "-c", code]).strip()

    @staticmethod
    def _run(argv: list[str]) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(argv)} failed:\n{done.stderr or done.stdout}")
        return done.stdout
