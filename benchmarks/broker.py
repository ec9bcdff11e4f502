"""A private RabbitMQ node for the bare echoes, set up by the very code that `make up` uses for its own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.processes import BenchError, Process, free_ports, listens
from funcatron.settings import Settings
from funcatron.stack import broker
from funcatron.stack.folders import Folders

PORTS = ("http_port", "admin_port", "amqp_port", "stomp_port", "management_port", "dist_port", "epmd_port")


def private_settings(data: Path, **changes: object) -> Settings:
    """Settings for something of the bench's own: a data folder and free ports, production's defaults else."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    return Settings(**{"data": data, **ports, **changes})  # type: ignore[arg-type]


class Broker:
    """One node in a folder of its own, with its own port mapper."""

    def __init__(self, folder: Path) -> None:
        self._settings = private_settings(folder)
        self._folders = Folders(folder)
        self._epmd: Process | None = None
        self._server: Process | None = None
        self.user = self._settings.broker_user
        self.amqp_port, self.stomp_port = self._settings.amqp_port, self._settings.stomp_port

    @property
    def password(self) -> str:
        """The password of `user`."""
        return self._folders.secret("broker")

    @property
    def pid(self) -> int:
        """The id of the server's process family."""
        if self._server is None:
            raise BenchError("the broker is not running")
        return self._server.pid

    def start(self) -> None:
        """Start the node and return when both its ports answer. Idempotent."""
        if self._server is not None:
            return
        self._folders.make()
        broker.write(self._settings, self._folders, self.password)
        environment = broker.environment(self._settings, self._folders)
        port = self._settings.epmd_port
        argv = [broker.epmd_program(), "-port", str(port), "-address", "127.0.0.1"]
        self._epmd = Process("epmd", argv, self._folders.log, env=environment)
        self._epmd.wait_until(lambda: listens(port))
        self._server = Process("broker", [broker.server_program()], self._folders.log, env=environment)
        self._server.wait_until(lambda: listens(self.amqp_port) and listens(self.stomp_port), 60)

    def stop(self) -> None:
        """End the node and its port mapper."""
        for process in (self._server, self._epmd):
            if process is not None:
                process.stop(grace=15)
        self._server = self._epmd = None
