"""A RabbitMQ node of a test's own: free ports, own data folder, own Erlang port mapper."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
PLUGINS = ("rabbitmq_management", "rabbitmq_stomp")
BOOT = 60.0  # s that a node may take to start, on a loaded machine


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class RabbitmqNode:
    """A private node with STOMP and the management API, on loopback. Start it, stop it, restart it, kill it.

    `extra` are further lines of rabbitmq.conf; data survive until `remove`.
    """

    user = "funcatron"

    def __init__(self, *extra: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="funcatron-rabbitmq-"))
        self.password = secrets.token_urlsafe(12)
        self.amqp_port, self.stomp_port, self.management_port, self._dist, self._epmd = free_ports(5)
        self._name = f"funcatron{self._dist}@localhost"
        self._cookie = secrets.token_hex(12)
        self._extra = extra
        self._server: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None
        self._configure()

    def _configure(self) -> None:
        lines = (
            f"listeners.tcp.default = 127.0.0.1:{self.amqp_port}",
            f"stomp.listeners.tcp.1 = 127.0.0.1:{self.stomp_port}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {self.management_port}",
            f"default_user = {self.user}",
            f"default_pass = {self.password}",
            "loopback_users = none",
            "collect_statistics_interval = 500",
            "management.sample_retention_policies.global.minute = 1",
            "management.sample_retention_policies.basic.minute = 1",
            "management.sample_retention_policies.detailed.10 = 1",
            "vm_memory_high_watermark.relative = 0.4",
            "disk_free_limit.absolute = 50MB",
            "log.console = false",
            f"log.file = {self.folder}/rabbit.log",
            *self._extra,
        )
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the server and of its tools."""
        here = str(self.folder)
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": here,
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_MNESIA_BASE": here + "/data",
            "RABBITMQ_LOG_BASE": here + "/log",
            "RABBITMQ_CONFIG_FILE": here + "/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": here + "/plugins",
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "RABBITMQ_PID_FILE": here + "/pid",
        }

    def start(self) -> RabbitmqNode:
        """Start the node and wait until it serves on all ports."""
        if self._mapper is None:
            self._mapper = subprocess.Popen(
                ["epmd", "-port", str(self._epmd), "-address", "127.0.0.1"], env=self.environment
            )
            _wait_for_port(self._epmd, 10.0, self._mapper)
        with (self.folder / "console.log").open("ab") as console:
            self._server = subprocess.Popen(
                [SERVER], env=self.environment, stdout=console, stderr=console, start_new_session=True
            )
        for port in (self.management_port, self.stomp_port, self.amqp_port):
            _wait_for_port(port, BOOT, self._server)
        return self

    def stop(self) -> None:
        """Stop the node in an orderly way; its data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node as a crash would (kill -9); its data stay as they are."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop everything and delete the data."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it prints."""
        done = subprocess.run(
            [CTL, "-q", "-n", self._name, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        os.killpg(server.pid, how)  # the script and the Erlang machine under it
        try:
            server.wait(30)
            _wait_for_group(server.pid, 30)
        except (subprocess.TimeoutExpired, TimeoutError):
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)
            _wait_for_group(server.pid, 10)

    def __enter__(self) -> RabbitmqNode:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()


def _wait_for_group(group: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise TimeoutError(f"process group {group} is still there after {seconds:g} s")


def _wait_for_port(port: int, seconds: float, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode} before it served on port {port}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing serves on port {port} after {seconds:g} s")
