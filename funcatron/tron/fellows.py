"""All Trons of an installation, as the one that leads knows them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from funcatron import __version__
from funcatron.tron.peers import Peers


@dataclass(frozen=True, slots=True)
class Fellow:
    """A Tron. Times are s since 1970, by the leader's clock but for `since`, which is by its own.

    epoch: under which it leads; None if it does not. dispatched: messages put into func queues since it started.
    """

    id: str
    url: str | None
    epoch: int | None
    dispatched: int
    since: float
    seen: float
    version: str | None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def leads(self) -> bool:
        """Whether it leads."""
        return self.epoch is not None

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it, with times as they are."""
        return {
            "id": self.id,
            "url": self.url,
            "leads": self.leads,
            "epoch": self.epoch,
            "dispatched": self.dispatched,
            "since": self.since,
            "seen": self.seen,
            "version": self.version,
            "info": dict(self.info),
        }


def host_info() -> dict[str, Any]:
    """Return what a Tron says of its process."""
    return {"hostname": socket.gethostname(), "pid": os.getpid(), "version": __version__}


def known(peers: Peers) -> Iterator[Fellow]:
    """Return the others that were heard of lately."""
    for peer in peers.of("tron"):
        info = {name: value for name, value in peer.info.items() if name not in {"url", "since"}}
        since = peer.info.get("since")
        yield Fellow(
            id=peer.id,
            url=peer.info.get("url"),
            epoch=None,
            dispatched=peer.dispatched,
            since=peer.since if since is None else since / 1000,
            seen=peer.seen,
            version=info.get("version"),
            info=info,
        )
