"""RabbitMQ's management API: the figures that AMQP does not tell."""

from __future__ import annotations

import ssl
from urllib.parse import quote

import httpx

from funcatron.errors import UnknownDepth


class Management:
    """A client of the management API of one virtual host."""

    def __init__(self, url: str, user: str, password: str, vhost: str, tls: ssl.SSLContext | None = None) -> None:
        self._vhost = quote(vhost, safe="")
        verify: ssl.SSLContext | bool = tls if tls is not None else False
        self._client = httpx.AsyncClient(
            base_url=url, auth=(user, password), timeout=5.0, verify=verify, trust_env=False
        )

    async def unacked(self, queue: str) -> int:
        """Read how many messages of a queue are taken and not settled. The broker refreshes the figure every few
        seconds (`collect_statistics_interval`). Raises UnknownDepth."""
        where = f"/api/queues/{self._vhost}/{quote(queue, safe='')}"
        try:
            answer = await self._client.get(where)
            answer.raise_for_status()
            found = answer.json()["messages_unacknowledged"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as err:
            raise UnknownDepth(f"the management API does not tell the unsettled messages of {queue}: {err!r}") from err
        if not isinstance(found, int):
            raise UnknownDepth(f"the management API tells no number of unsettled messages of {queue}: {found!r}")
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
