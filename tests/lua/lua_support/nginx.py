"""A real nginx with the project's own configuration, on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from string import Template
from typing import Any

import httpx

from .waiting import free_port, listening, until

ROOT = Path(__file__).resolve().parents[3]
DEBIAN_MODULES = Path("/usr/lib/nginx/modules")


def modules() -> str:
    """The load_module lines of Debian's nginx; none for OpenResty, which has the modules built in."""
    names = ("ndk_http_module.so", "ngx_http_lua_module.so")
    return "\n".join(f"load_module {DEBIAN_MODULES / n};" for n in names if (DEBIAN_MODULES / n).exists())


class Nginx:
    """One nginx: `start()`, `stop()`; `port`, `status_port`; logs as text and as parsed lines."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.status_port = free_port()
        self.env = {name: value for name, value in (env or {}).items() if value is not None}
        for name in ("temp", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.access_log = folder / "logs" / "access.log"
        self.error_log = folder / "logs" / "error.log"
        self.variables = {
            "MODULES": modules(),
            "USER": "user root;" if os.getuid() == 0 else "",
            "LIMITS": "",
            "WORKERS": "1",
            "PID": str(folder / "nginx.pid"),
            "ERROR_LOG": str(self.error_log),
            "LOG_LEVEL": "info",
            "ACCESS_LOG": str(self.access_log),
            "TEMP": str(folder / "temp"),
            "REQUESTS": self.env.get("FUNCATRON_BODIES", str(folder / "temp")) + "/requests",
            "INLINE_BODY": self.env.get("FUNCATRON_INLINE_BODY", "2m"),
            "LUA": str(ROOT / "lua"),
            "LUA_EXTRA": "",
            "CONF": str(ROOT / "nginx"),
            "LISTEN": f"127.0.0.1:{self.port}",
            "STATUS_LISTEN": f"127.0.0.1:{self.status_port}",
            "MAX_BODY": self.env.get("FUNCATRON_MAX_BODY", "10485760"),
            "SHUTDOWN_TIMEOUT": "20",
            "RESOLVER": "",
            "TLS": "",
            "EXTRA": "",
        } | variables
        self.config = folder / "nginx.conf"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def status_url(self) -> str:
        return f"http://127.0.0.1:{self.status_port}"

    def start(self, ready: bool = True) -> Nginx:
        """Start, and wait until it listens and, if `ready`, until its link is up."""
        text = Template((ROOT / "nginx" / "nginx.conf.template").read_text()).substitute(self.variables)
        self.config.write_text(text)
        inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "HOME"}}
        command = ["nginx", "-p", str(self.folder), "-c", str(self.config), "-g", "daemon off;"]
        with (self.folder / "logs" / "stderr").open("wb") as err:
            self.process = subprocess.Popen(command, env=inherited | self.env, stderr=err, cwd=self.folder)
        until(lambda: self.dead() or listening(self.port), 10, "nginx listens")
        assert not self.dead(), self.errors()
        if ready:
            self.wait_ready()
        return self

    def dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def ready(self) -> bool:
        return httpx.get(self.status_url + "/__ready").status_code == 200

    def ready_or_refused(self) -> bool:
        """As `ready`, while a worker may be missing."""
        try:
            return self.ready()
        except httpx.TransportError:
            return False

    def wait_ready(self, seconds: float = 10) -> None:
        until(self.ready, seconds, "the link is up: " + self.errors()[-2000:])

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = httpx.get(self.status_url + "/__stats").json()
        return stats

    def workers(self) -> list[int]:
        """Process ids of the worker processes."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def send_signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise

    def errors(self) -> str:
        """The error log, and what went to stderr before there was one."""
        texts = [p.read_text(errors="replace") for p in (self.error_log, self.folder / "logs" / "stderr") if p.exists()]
        return "".join(texts)

    def lines(self) -> list[dict[str, Any]]:
        """The access log, parsed."""
        return [json.loads(line) for line in self.access_log.read_text().splitlines()]

    def line(self, request_id: str) -> dict[str, Any]:
        """The access log's line of one request, once it is written (the log is flushed every second)."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines() if line["request-id"] == request_id), None)

        return until(found, 5, f"access log of {request_id}")
