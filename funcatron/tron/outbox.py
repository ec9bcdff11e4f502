"""Every message that the Tron sends: control messages, and the answers it gives itself.

They are transient: when the broker was away, the whole state is sent again (`Deployments.announce`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from funcatron import problem
from funcatron.brokers.base import Broker, Outgoing
from funcatron.errors import BrokerError
from funcatron.message import answer_bytes, control, encode, topology
from funcatron.stores.records import Version
from funcatron.tron.routes import RouteTable

log = logging.getLogger("funcatron.tron.outbox")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Tron's admin API is, as others reach it: `host` and `port`, and the `url`."""

    host: str
    port: int
    url: str


def never() -> bool:
    """Tell that nothing may be sent."""
    return False


class Outbox:
    """Sends the messages of one Tron. `address` is where its admin API is.

    Only who leads tells others what to do: `holds` says whether that is so at the moment, by the leader's own clock.
    What Runners are told carries the leadership's `epoch`, and the name of the `registry` that counts the epochs.
    """

    def __init__(
        self,
        broker: Broker,
        instance: str,
        address: Address,
        *,
        epoch: int = 0,
        registry: str = "",
        holds: Callable[[], bool] = never,
    ) -> None:
        self.broker = broker
        self.instance = instance
        self.address = address
        self.epoch = epoch
        self.registry = registry
        self.holds = holds

    def routes(self, table: RouteTable, to: str | None = None) -> None:
        """Send the route table to all Frontends and Trons, or to one."""
        routes = [route.as_json() for route in table.ordered]
        self._send(topology.FRONTENDS, to, control.route(self.instance, routes, table.version, epoch=table.epoch))

    def tron_info(self, to: str | None = None) -> None:
        """Say to all Runners, or to one peer, where the admin API is."""
        info = control.tron_info(self.instance, self._tron_host, url=self.address.url, **self._mandate)
        self._send(topology.RUNNERS, to, info)

    def resend_awake(self, to: str | None = None) -> None:
        """Ask all Frontends, Trons and Runners, or one peer, to introduce themselves again."""
        for exchange in (topology.FRONTENDS, topology.RUNNERS) if to is None else ("",):
            self._send(exchange, to, control.resend_awake(self.instance))

    def all_bundles(self, bundles: Iterable[tuple[str, Version]], to: str | None = None) -> str:
        """Tell Runners everything that they shall serve; returns the message's id."""
        listed = (_bundle(*one) for one in bundles)
        return self._send(topology.RUNNERS, to, control.all_bundles(self.instance, listed, **self._mandate))

    def enable(self, name: str, version: Version, to: str | None = None) -> str:
        """Tell Runners to load a version of a deployment; returns the message's id, which the acks name."""
        message = control.enable(self.instance, _bundle(name, version), self._tron_host, **self._mandate)
        return self._send(topology.RUNNERS, to, message)

    def disable(self, sha: str, queue: str) -> str:
        """Tell Runners to work off a func queue, to finish what runs, and to drop the bundle."""
        return self._send(topology.RUNNERS, None, control.disable(self.instance, sha, queue, **self._mandate))

    def allocate(self, funcs: Iterable[Mapping[str, Any]], to: str) -> str:
        """Tell a Runner all that it shall run: `queue`, `instances` and, where that is so, `waker` each."""
        return self._send("", to, control.allocate(self.instance, funcs, **self._mandate))

    def die(self, instance: str, to: str) -> None:
        """Tell a Runner, which has nothing in hand any more, to end."""
        self._send("", to, control.die(self.instance, instance))

    def answer(self, to: str, request_id: str, status: int, body: bytes, more: Iterable[tuple[str, str]] = ()) -> None:
        """Answer a request in place of a Func, with a problem and `more` headers. Raises BrokerError."""
        headers = [("content-type", problem.MEDIA_TYPE), *more]
        data = answer_bytes(request_id, status, headers, body, sender=self.instance)
        self.broker.publish(Outgoing(data, to, correlation_id=request_id, content_type=""))

    @property
    def _tron_host(self) -> tuple[str, int]:
        return self.address.host, self.address.port

    @property
    def _mandate(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "registry": self.registry}

    def _send(self, exchange: str, to: str | None, message: dict[str, Any]) -> str:
        action = message["action"]
        if not self.holds():
            log.info("%s is not sent: this Tron does not lead any more", action)
            return str(message["msg-id"])
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
