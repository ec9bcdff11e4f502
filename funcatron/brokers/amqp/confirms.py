"""Publishing with confirms: a channel on which the broker says of each message that it took responsibility.

RabbitMQ: "Consumer Acknowledgements and Publisher Confirms". Messages are `mandatory`: one that no queue takes comes
back by basic.return before it is confirmed, and is told apart by its message id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from funcatron.brokers.amqp import codec, properties
from funcatron.brokers.amqp.adapter import Adapter
from funcatron.errors import BrokerError


class ConfirmChannel:
    """An open channel in confirm mode."""

    def __init__(self, adapter: Adapter, number: int) -> None:
        self._adapter = adapter
        self._number = number
        self._next = 1
        self._waiting: dict[int, tuple[bytes, asyncio.Future[None]]] = {}  # by delivery tag, ascending
        self._returned: dict[bytes, list[str]] = {}  # by message id
        adapter.confirms[number] = self

    def publish(self, exchange: str, routing_key: str, values: bytes, body: bytes) -> asyncio.Future[None]:
        """Write a message with encoded properties. The future gets BrokerError when it was refused.

        Raises BrokerError when it cannot be written.
        """
        values, message_id = properties.with_message_id(values, str(self._next).encode())
        method = codec.publish_method(self._number, exchange, routing_key, mandatory=True)
        self._adapter.write_message(codec.message(method, self._number, values, body, self._adapter.frame_max))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = (message_id, future)
        self._next += 1
        return future

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker took, or refused, one message or all up to `tag`."""
        for each in self._up_to(tag) if multiple else (tag,):
            message_id, future = self._waiting.pop(each, (b"", None))
            reasons = self._returned.get(message_id)
            if future is None or future.done():
                continue
            if reasons:
                reason = reasons.pop(0)
                if not reasons:
                    del self._returned[message_id]
                future.set_exception(BrokerError(f"no queue took the message: {reason}"))
            elif taken:
                future.set_result(None)
            else:
                future.set_exception(BrokerError("the broker refused the message (basic.nack)"))

    def _up_to(self, tag: int) -> list[int]:
        found = []
        for each in self._waiting:
            if each > tag:
                break
            found.append(each)
        return found

    def returned(self, message_id: str | None, reason: str) -> None:
        """A message came back; its confirm follows."""
        self._returned.setdefault((message_id or "").encode(), []).append(reason)

    def fail(self, error: Callable[[], Exception]) -> None:
        """The channel is gone: nothing more will be confirmed."""
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(error())
        self._waiting.clear()
