"""A consumer in a thread: takes `service` messages and answers as it is told."""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from .rabbit import Rabbit
from .waiting import until


@dataclass
class Message:
    """A message as it came from the broker."""

    routing_key: str
    exchange: str
    properties: pika.BasicProperties
    body: bytes
    queue: str

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded

    @property
    def payload(self) -> bytes:
        """The request's body."""
        body: str = self.json.get("body", "")
        return base64.b64decode(body) if self.json.get("body-base64-encoded", False) else body.encode()


def answer(
    status: int = 200, body: bytes = b"", headers: list[list[str]] | None = None, encoded: bool = True, **more: Any
) -> dict[str, Any]:
    """The value of an answer's `answer`, and further keys of the message."""
    text = base64.b64encode(body).decode() if encoded else body.decode()
    inner = {"status": status, "headers": headers or [], "body": text, "body-base64-encoded": encoded}
    return {"answer": inner} | more


Reply = Callable[[Message], "dict[str, Any] | bytes | None"]


class Consumer:
    """Takes from queues; `reply` makes the answer of each message (None: no answer). `messages` has them all."""

    def __init__(self, rabbit: Rabbit, *queues: str) -> None:
        self.rabbit = rabbit
        self.queues = queues or ("funcatron.firehose",)
        self.messages: queue.Queue[Message] = queue.Queue()
        self.reply: Reply = lambda message: answer(200, b"hello", [["Content-Type", "text/plain"]])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.connection: pika.BlockingConnection | None = None
        self.channel: BlockingChannel | None = None
        self.ready = threading.Event()
        self.failure: BaseException | None = None

    def start(self) -> Consumer:
        self.thread.start()
        assert self.ready.wait(15), self.failure
        return self

    def stop(self) -> None:
        if self.connection and self.connection.is_open:
            self.connection.add_callback_threadsafe(lambda: self.channel and self.channel.stop_consuming())
        self.thread.join(10)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        try:
            self.connection = self.rabbit.connect()
            channel = self.channel = self.connection.channel()
            self.rabbit.declare(channel)
            channel.basic_qos(prefetch_count=1000)
            for name in self.queues:
                channel.queue_declare(name, durable=name.startswith(("func", "for_tron")))
                if name.startswith("func."):
                    channel.queue_bind(name, "funcatron.funcs", name)
                channel.queue_purge(name)
                channel.basic_consume(name, self._taker(name))
            self.ready.set()
            channel.start_consuming()
            self.connection.close()
        except pika.exceptions.AMQPError as err:  # the broker was killed by a test
            self.failure = err

    def _taker(self, name: str) -> Callable[..., None]:
        def take(channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            message = Message(method.routing_key, method.exchange, properties, body, name)
            self.messages.put(message)
            made = self.reply(message)
            if made is not None and properties.reply_to:
                self.send_answer(message, made)
            channel.basic_ack(method.delivery_tag)

        return take

    def send_answer(self, message: Message, made: dict[str, Any] | bytes) -> None:
        """Publish an answer; from the consumer's thread."""
        if isinstance(made, dict):
            envelope = {
                "action": "answer",
                "msg-id": "3b1e0d5c-0000-4000-8000-000000000000",
                "from": "test",
                "at": 0,
                "version": 1,
                "request-id": message.properties.correlation_id,
            }
            made = json.dumps(envelope | made).encode()
        assert self.channel
        self.channel.basic_publish(
            "",
            message.properties.reply_to,
            made,
            pika.BasicProperties(
                correlation_id=message.properties.correlation_id,
                content_type="application/json",
                delivery_mode=1,
                headers={"action": "answer"},
            ),
        )

    def later(self, call: Callable[[], None]) -> None:
        """Run `call` in the consumer's thread."""
        assert self.connection
        self.connection.add_callback_threadsafe(call)

    def take(self, seconds: float = 5) -> Message:
        return self.messages.get(timeout=seconds)

    def publish(self, exchange: str, key: str, message: dict[str, Any]) -> None:
        """Publish a control message; from any thread."""

        def go() -> None:
            assert self.channel
            properties = pika.BasicProperties(
                content_type="application/json", headers={"action": message.get("action", "")}
            )
            self.channel.basic_publish(exchange, key, json.dumps(message).encode(), properties)

        self.later(go)

    def empty(self) -> bool:
        return until(self.messages.empty, 5)
