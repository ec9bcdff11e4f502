"""The bare echoes: nginx → STOMP → one queue (or two, with a hop) → pika → back."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.broker import Broker
from benchmarks.processes import Process, free_port
from benchmarks.procfs import family
from benchmarks.subjects.base import Subject, answers

_HERE = Path(__file__).parent.parent / "echo"
_NGINX = "/usr/sbin/nginx"


class EchoServers:
    """The servers that both echoes share: a broker, one nginx, one answering process, one hop."""

    def __init__(self, broker: Broker, folder: Path, workers: int) -> None:
        self._broker, self._folder, self._workers = broker, folder, workers
        self._processes: dict[str, Process] = {}
        self.port = free_port()

    def start(self) -> None:
        """Start them in the order in which they need each other. Idempotent."""
        if self._processes:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._broker.start()
        env = {
            "ECHO_AMQP_PORT": str(self._broker.amqp_port),
            "ECHO_STOMP_PORT": str(self._broker.stomp_port),
            "ECHO_USER": self._broker.user,
            "ECHO_PASSWORD": self._broker.password,
        }
        for mode in ("echo", "hop"):
            process = Process(f"echo-{mode}", [sys.executable, str(_HERE / "echo.py"), mode], self._folder, env=env)
            self._processes[mode] = process
            process.wait_until(lambda process=process: "ready" in process.tail())  # type: ignore[misc]
        config = self._folder / "echo.conf"
        config.write_text(self._configuration())
        modules = "/usr/lib/nginx"
        argv = [_NGINX, "-p", modules, "-c", str(config), "-e", "stderr"]
        self._processes["nginx"] = Process("echo-nginx", argv, self._folder, env=env)
        # each worker has a link of its own: ask often enough to meet them all
        self._processes["nginx"].wait_until(answers(f"http://127.0.0.1:{self.port}/ready", times=16))

    def _configuration(self) -> str:
        text = (_HERE / "nginx.conf.template").read_text()
        # started by root, nginx's workers would else be `nobody`, who may not be able to read the checkout
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        values = {"FOLDER": self._folder, "HERE": _HERE, "PORT": self.port, "WORKERS": self._workers, "USER": user}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def stop(self) -> None:
        """End them, the front first, the broker last."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._broker.stop)
            for process in self._processes.values():
                stack.callback(process.stop)
        self._processes = {}

    def pids(self, name: str) -> list[int]:
        """The process family of `nginx`, `echo` or `hop`."""
        return family(self._processes[name].pid)


class Echo(Subject):
    """One of the two bare echoes."""

    def __init__(self, servers: EchoServers, broker: Broker, routing: str) -> None:
        """`routing` is `direct` (one queue) or `firehose` (a hop between two queues)."""
        self.name = f"echo-{routing}"
        self._servers, self._broker, self._routing = servers, broker, routing

    def start(self) -> None:
        self._servers.start()

    def stop(self) -> None:
        self._servers.stop()

    def url(self, operation: str) -> str:
        return f"http://127.0.0.1:{self._servers.port}/{self._routing}?name=Ada&times=2"

    def components(self) -> Mapping[str, Sequence[int]]:
        return {
            "broker": family(self._broker.pid),
            "nginx": self._servers.pids("nginx"),
            "hop": self._servers.pids("hop") if self._routing == "firehose" else [],
            "echo": self._servers.pids("echo"),
        }
