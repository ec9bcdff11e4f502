"""StatsD over UDP (https://github.com/statsd/statsd/blob/master/docs/metric_types.md): a switch of the admin API."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from typing import Any

from funcatron.errors import SettingsError

log = logging.getLogger("funcatron.tron.statsd")

PREFIX = "funcatron.tron"
DATAGRAM = 1400
"""Bytes of a datagram at most, so that it fits into one packet."""


class Statsd:
    """Sends counters as their differences, and gauges. Off until it is switched on; UDP never holds anything up."""

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self._socket: socket.socket | None = None
        self._sent: dict[str, int] = {}

    async def switch_on(self, host: str, port: int) -> None:
        """Send to host and port from now on. Raises SettingsError when there is no such host."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            new = socket.socket(family, kind, protocol)
            new.setblocking(False)
            new.connect(address)
        except (OSError, UnicodeError) as err:
            raise SettingsError(f"statistics cannot go to {host}:{port}: {err}") from err
        self.switch_off()
        self._socket, self.target, self._sent = new, (host, port), {}

    async def follow(self, switch: Mapping[str, Any] | None) -> None:
        """Do as the installation's switch says: `host` and `port`, None for off. A host that there is not is logged."""
        if not switch:
            self.switch_off()
        elif (switch["host"], switch["port"]) != self.target:
            try:
                await self.switch_on(switch["host"], switch["port"])
            except SettingsError as err:
                log.warning("%s", err)

    def switch_off(self) -> None:
        """Send nothing any more. Idempotent."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self.target = None

    def send(self, counters: Mapping[str, int], gauges: Mapping[str, int]) -> None:
        """Send what the counters grew by since the last time, and the gauges, if it is on."""
        if self._socket is None:
            return
        lines = []
        for name, value in counters.items():
            grown = value - self._sent.get(name, 0)
            if grown:
                lines.append(f"{PREFIX}.{name}:{grown}|c")
            self._sent[name] = value
        lines += [f"{PREFIX}.{name}:{value}|g" for name, value in gauges.items()]
        for datagram in _datagrams(lines):
            try:
                self._socket.send(datagram)
            except OSError as err:  # nobody listens, or the buffer is full: statistics may be lost
                log.debug("statistics not sent: %s", err)


def _datagrams(lines: list[str]) -> list[bytes]:
    datagrams: list[bytes] = []
    for line in lines:
        data = line.encode()
        if datagrams and len(datagrams[-1]) + 1 + len(data) <= DATAGRAM:
            datagrams[-1] += b"\n" + data
        else:
            datagrams.append(data)
    return datagrams
