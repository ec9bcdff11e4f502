"""Every message that the Tron sends: control messages, and the answers it gives itself.

They are transient: when the broker was away, the whole state is sent again (`Tron.resync`), so none is missed for good.
"""

from __future__ import annotations

import base64
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from funcatron import problem
from funcatron.brokers.base import Broker, Outgoing
from funcatron.errors import BrokerAway
from funcatron.message import topology
from funcatron.stores.records import Version
from funcatron.tron.routes import RouteTable

log = logging.getLogger("funcatron.tron.outbox")

VERSION = 1
"""Version of the messages."""


class Outbox:
    """Sends the messages of one Tron. `tron_host` is where its admin API is, as Runners reach it."""

    def __init__(self, broker: Broker, instance: str, tron_host: tuple[str, int]) -> None:
        self.broker = broker
        self.instance = instance
        self.tron_host = {"host": tron_host[0], "port": tron_host[1]}

    def routes(self, table: RouteTable, to: str | None = None) -> None:
        """Send the route table to all Frontends, or to one."""
        routes = [route.as_json() for route in table.ordered]
        fields = {"routes": routes, "routes-version": table.version, "epoch": table.epoch}
        self._send("route", topology.FRONTENDS, to, fields)

    def tron_info(self, to: str | None = None, exchange: str = topology.RUNNERS) -> None:
        """Say where the admin API is."""
        self._send("tron-info", exchange, to, {"tron-host": self.tron_host})

    def resend_awake(self, to: str | None = None) -> None:
        """Ask Frontends to introduce themselves again."""
        self._send("resend-awake", topology.FRONTENDS, to, {})

    def all_bundles(self, bundles: Iterable[tuple[str, Version]], to: str | None = None) -> str:
        """Tell Runners everything that they shall serve; returns the message's id."""
        return self._send("all-bundles", topology.RUNNERS, to, {"bundles": [_bundle(*one) for one in bundles]})

    def enable(self, name: str, version: Version, to: str | None = None) -> str:
        """Tell Runners to load a version of a deployment; returns the message's id, which the acks name."""
        return self._send("enable", topology.RUNNERS, to, {**_bundle(name, version), "tron-host": self.tron_host})

    def disable(self, sha: str, queue: str) -> str:
        """Tell Runners to stop taking from a func queue, to finish what runs, and to drop the bundle."""
        return self._send("disable", topology.RUNNERS, None, {"sha": sha, "queue": queue, "drain": True})

    def answer(
        self,
        to: str,
        request_id: str,
        status: int,
        body: bytes,
        headers: Sequence[tuple[str, str]] = (("content-type", problem.MEDIA_TYPE),),
    ) -> None:
        """Answer a request in place of a Func. Raises BrokerAway."""
        try:
            text, encoded = body.decode(), False
        except UnicodeDecodeError:
            text, encoded = base64.b64encode(body).decode(), True
        answer = {"status": status, "headers": headers, "body": text, "body-base64-encoded": encoded}
        message = self._message("answer", {"request-id": request_id, "answer": answer})
        self.broker.publish(
            Outgoing(orjson.dumps(message), routing_key=to, correlation_id=request_id, headers={"action": "answer"})
        )

    def _send(self, action: str, exchange: str, to: str | None, fields: dict[str, Any]) -> str:
        message = self._message(action, fields)
        key, where = ("", exchange) if to is None else (to, "")
        try:
            self.broker.publish(
                Outgoing(orjson.dumps(message), routing_key=key, exchange=where, headers={"action": action})
            )
        except BrokerAway:
            log.warning("%s was not sent, the broker is away: all is sent again once it is back", action)
        return str(message["msg-id"])

    def _message(self, action: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "action": action,
            "msg-id": str(uuid.uuid4()),
            "from": self.instance,
            "at": int(time.time() * 1000),
            "version": VERSION,
            **fields,
        }


def _bundle(name: str, version: Version) -> dict[str, Any]:
    return {
        "sha": version.sha,
        "name": name,
        "host": version.host,
        "path": version.base_path,
        "queue": version.queue(name),
        "props": dict(version.props),
        "settings": dict(version.settings),
    }
