"""Every message that the Tron sends: control messages, and the answers it gives itself.

They are transient: when the broker was away, the whole state is sent again (`Deployments.announce`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from funcatron import problem
from funcatron.brokers.base import Broker, Outgoing
from funcatron.errors import BrokerError
from funcatron.message import answer_bytes, control, encode, topology
from funcatron.stores.records import Version
from funcatron.tron.routes import RouteTable

log = logging.getLogger("funcatron.tron.outbox")


class Outbox:
    """Sends the messages of one Tron. `tron_host` is where its admin API is, as Runners reach it."""

    def __init__(self, broker: Broker, instance: str, tron_host: tuple[str, int]) -> None:
        self.broker = broker
        self.instance = instance
        self.tron_host = tron_host

    def routes(self, table: RouteTable, to: str | None = None) -> None:
        """Send the route table to all Frontends, or to one."""
        routes = [route.as_json() for route in table.ordered]
        self._send(topology.FRONTENDS, to, control.route(self.instance, routes, table.version, epoch=table.epoch))

    def tron_info(self, to: str | None = None) -> None:
        """Say to all Runners, or to one peer, where the admin API is."""
        self._send(topology.RUNNERS, to, control.tron_info(self.instance, self.tron_host))

    def resend_awake(self, to: str | None = None) -> None:
        """Ask all Frontends and Runners, or one peer, to introduce themselves again."""
        for exchange in (topology.FRONTENDS, topology.RUNNERS) if to is None else ("",):
            self._send(exchange, to, control.resend_awake(self.instance))

    def all_bundles(self, bundles: Iterable[tuple[str, Version]], to: str | None = None) -> str:
        """Tell Runners everything that they shall serve; returns the message's id."""
        return self._send(topology.RUNNERS, to, control.all_bundles(self.instance, (_bundle(*one) for one in bundles)))

    def enable(self, name: str, version: Version, to: str | None = None) -> str:
        """Tell Runners to load a version of a deployment; returns the message's id, which the acks name."""
        return self._send(topology.RUNNERS, to, control.enable(self.instance, _bundle(name, version), self.tron_host))

    def disable(self, sha: str, queue: str) -> str:
        """Tell Runners to work off a func queue, to finish what runs, and to drop the bundle."""
        return self._send(topology.RUNNERS, None, control.disable(self.instance, sha, queue))

    def answer(self, to: str, request_id: str, status: int, body: bytes) -> None:
        """Answer a request in place of a Func, with a problem. Raises BrokerError."""
        headers = [("content-type", problem.MEDIA_TYPE)]
        data = answer_bytes(request_id, status, headers, body, sender=self.instance)
        self.broker.publish(Outgoing(data, to, correlation_id=request_id, headers={"action": "answer"}))

    def _send(self, exchange: str, to: str | None, message: dict[str, Any]) -> str:
        action = message["action"]
        key, where = ("", exchange) if to is None else (to, "")
        try:
            self.broker.publish(Outgoing(encode(message), key, exchange=where, headers={"action": action}))
        except BrokerError as err:
            log.warning("%s was not sent (%s): all is sent again once the broker is back", action, err)
        return str(message["msg-id"])


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
