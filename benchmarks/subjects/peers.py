"""The peers: Connexion 3 and functions-framework, each as its own documents advise for production."""

from __future__ import annotations

import urllib.parse
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import BenchError, Process, free_port
from benchmarks.procfs import family
from benchmarks.subjects.base import Subject, answers
from benchmarks.venvs import Venv

_APPS = Path(__file__).parent.parent / "peers"
GREET_QUERY = urllib.parse.urlencode({"name": "Ada", "times": 2})


class Peer(Subject):
    """A Python HTTP server in a virtual environment of its own, with two worker processes and no access log."""

    requirements: tuple[str, ...]
    shows: tuple[str, ...]

    def __init__(self, venvs: Path, folder: Path) -> None:
        """`venvs` is where environments are kept, `folder` where this run's logs go."""
        self.venv = Venv(venvs / self.name, self.requirements)
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None

    @abstractmethod
    def _argv(self, port: int) -> list[str]: ...

    def start(self) -> None:
        self.venv.ensure()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = Process(self.name, self._argv(self._port), self._folder, cwd=_APPS)
        self._process.wait_until(answers(self.url("greet"), times=8))

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        self._process = None

    def components(self) -> Mapping[str, Sequence[int]]:
        if self._process is None:
            raise BenchError(f"{self.name} is not running")
        return {"server": family(self._process.pid)}

    def versions(self) -> dict[str, str]:
        """The versions that ran, for the record."""
        return {package: self.venv.version(package) for package in self.shows}


class Connexion(Peer):
    """Connexion 3's AsyncApp under uvicorn with httptools and uvloop, two workers."""

    name = "connexion"
    requirements = ("connexion[uvicorn]>=3,<4", "httptools", "uvloop")
    shows = ("connexion", "uvicorn")

    def url(self, operation: str) -> str:
        path = f"http://127.0.0.1:{self._port}/bench/{operation}"
        return f"{path}?{GREET_QUERY}" if operation == "greet" else path

    def _argv(self, port: int) -> list[str]:
        options = ["--workers", "2", "--loop", "uvloop", "--http", "httptools"]
        options += ["--no-access-log", "--log-level", "warning"]
        return [str(self.venv.binary("uvicorn")), "connexion_app:app", "--port", str(port), *options]


class FunctionsFramework(Peer):
    """functions-framework's WSGI app under gunicorn, two workers with eight threads each."""

    name = "functions-framework"
    requirements = ("functions-framework>=3,<4", "gunicorn")
    shows = ("functions-framework", "gunicorn")

    def url(self, operation: str) -> str:
        return f"http://127.0.0.1:{self._port}/?{GREET_QUERY}"

    def _argv(self, port: int) -> list[str]:
        app = 'functions_framework:create_app("serve", "functions_framework_app.py")'
        options = ["--workers", "2", "--threads", "8", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
        return [str(self.venv.binary("gunicorn")), app, *options]
