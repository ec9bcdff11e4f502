"""The bare echo behind the broker: takes messages off one queue and sends each on, nothing else.

`echo.py echo` answers what is in `bench.echo` to its reply queue; `echo.py hop` moves what is in `bench.hop` to
`bench.echo`, the hop of the firehose. pika on uvloop, acks once per turn of the loop: the fastest that pika can.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pika
import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection

PREFETCH = 1000


class Echo:
    """One connection, one channel, one consumer."""

    def __init__(self, queue: str, target: str | None) -> None:
        """Messages of `queue` go to the queue `target`, or, if None, to their reply queue."""
        self._queue, self._target = queue, target
        self._loop = asyncio.get_running_loop()
        self._unacked = 0
        self.closed: asyncio.Future[str] = self._loop.create_future()
        parameters = pika.ConnectionParameters(
            "127.0.0.1",
            int(os.environ["ECHO_AMQP_PORT"]),
            credentials=pika.PlainCredentials(os.environ["ECHO_USER"], os.environ["ECHO_PASSWORD"]),
            heartbeat=0,
        )
        AsyncioConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._open),
            on_open_error_callback=self._closed,
            on_close_callback=self._closed,
        )

    def _closed(self, _: Any, reason: Any) -> None:
        self.closed.set_result(str(reason))

    def _open(self, channel: Any) -> None:
        self._channel = channel
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.queue_declare(self._queue, callback=self._consume)

    def _consume(self, _: Any) -> None:
        on_message = self._answer if self._target is None else self._forward
        self._channel.basic_consume(self._queue, on_message, callback=lambda _: print("ready", flush=True))

    def _answer(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish(
            "", properties.reply_to, body, pika.BasicProperties(correlation_id=properties.correlation_id)
        )
        self._ack_later(method.delivery_tag)

    def _forward(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", self._target, body, properties)
        self._ack_later(method.delivery_tag)

    def _ack_later(self, tag: int) -> None:
        if not self._unacked:
            self._loop.call_soon(self._ack)
        self._unacked = tag

    def _ack(self) -> None:
        self._channel.basic_ack(self._unacked, multiple=True)
        self._unacked = 0


async def main(mode: str) -> None:
    """Run until the connection is closed, which is an error."""
    echo = Echo("bench.hop", "bench.echo") if mode == "hop" else Echo("bench.echo", None)
    sys.exit(await echo.closed)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(sys.argv[1]))
