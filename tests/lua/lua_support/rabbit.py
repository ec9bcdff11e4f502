"""A private RabbitMQ node with the STOMP plugin, on free ports with its own folders."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel

from .waiting import free_port, listening, until

BIN = Path("/usr/lib/rabbitmq/bin")
MAX_MESSAGE = 256 * 1024 * 1024


class Rabbit:
    """`start()`, `stop()`, `ctl()`; `stomp_port`, `tls_port`, `amqp_port`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.amqp_port, self.stomp_port, self.tls_port = free_port(), free_port(), free_port()
        self.epmd_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.epmd: subprocess.Popen[bytes] | None = None
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": f"lua{os.getpid()}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def _make_certificate(self) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", self.key, "-out", self.cert],
            check=True, capture_output=True,
        )  # fmt: skip

    def prepare(self) -> None:
        """Write the configuration and start the port mapper."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_certificate()
        (self.folder / "plugins").write_text("[rabbitmq_stomp].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\n"
            f"stomp.listeners.tcp.1 = 127.0.0.1:{self.stomp_port}\n"
            f"stomp.listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.cert}\n"
            f"ssl_options.certfile = {self.cert}\n"
            f"ssl_options.keyfile = {self.key}\n"
            "disk_free_limit.absolute = 1MB\n"
            f"max_message_size = {MAX_MESSAGE}\n"
        )
        epmd = shutil.which("epmd") or "/usr/lib/erlang/bin/epmd"
        self.epmd = subprocess.Popen([epmd, "-port", str(self.epmd_port)], env=self.env)
        until(lambda: listening(self.epmd_port), 10, "epmd listens")

    def start(self) -> Rabbit:
        """Start the node and wait until it speaks STOMP."""
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [BIN / "rabbitmq-server"], env=self.env, stdout=out, stderr=out, start_new_session=True
            )
        until(lambda: listening(self.stomp_port) and listening(self.amqp_port), 60, "RabbitMQ listens")
        return self

    def stop(self) -> None:
        """Stop the node at once, as a crash would."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait(20)
            until(lambda: not listening(self.stomp_port), 10, "RabbitMQ is gone")

    def close(self) -> None:
        """Stop everything."""
        self.stop()
        if self.epmd:
            self.epmd.kill()
            self.epmd.wait(5)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl; its output."""
        done = subprocess.run(
            [BIN / "rabbitmqctl", "--quiet", *arguments], env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def connect(self, vhost: str = "/") -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.amqp_port, vhost, heartbeat=0))

    def declare(self, channel: BlockingChannel) -> None:
        """What the Tron declares."""
        channel.exchange_declare("funcatron.firehose", "fanout", durable=True)
        channel.queue_declare("funcatron.firehose", durable=True)
        channel.queue_bind("funcatron.firehose", "funcatron.firehose")
        channel.exchange_declare(
            "funcatron.funcs", "direct", durable=True, arguments={"alternate-exchange": "funcatron.firehose"}
        )
        channel.exchange_declare("funcatron.frontends", "fanout", durable=True)
        channel.queue_declare("for_tron", durable=True)
        channel.queue_declare("funcatron.dead-letter", durable=True)

    def frontend(self, **more: str) -> dict[str, str]:
        """The environment of a Frontend of this broker."""
        return {"RABBIT_HOST": "127.0.0.1", "RABBIT_PORT": str(self.stomp_port)} | more
