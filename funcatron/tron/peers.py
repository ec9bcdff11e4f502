"""Which Frontends, Runners and other Trons there are, by their own messages. Decides only; time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from funcatron.message.topology import frontend_queue, runner_queue, tron_queue

SILENCE = 35.0
"""A peer that said nothing for so long is forgotten, s: three heartbeats and a bit."""

Kind = Literal["frontend", "runner", "tron"]
QUEUES: Mapping[Kind, Callable[[str], str]] = {
    "frontend": frontend_queue,
    "runner": runner_queue,
    "tron": tron_queue,
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a Runner said last about a func queue's bundle."""

    sha: str
    stage: str
    error: str | None = None


@dataclass(slots=True)
class Peer:
    """A Frontend, a Runner or another Tron. Times are seconds since 1970, by the Tron's clock."""

    kind: Kind
    id: str
    queue: str
    since: float
    seen: float
    info: Mapping[str, Any] = field(default_factory=dict)
    loaded: dict[str, Loaded] = field(default_factory=dict)
    dispatched: int = 0
    """Messages that a Tron has put into func queues since it started, as far as it has told."""
    _counts: Mapping[str, int] = field(default_factory=dict)
    routes: int | None = None
    """Version of the table by which a Tron, or a Frontend directly, puts messages into func queues; None if it does
    not."""

    def count(self, counts: Mapping[str, int]) -> None:
        """Take how many messages a Tron has put into each func queue; it forgets queues that are long gone."""
        self.dispatched += sum(max(0, count - self._counts.get(queue, 0)) for queue, count in counts.items())
        self._counts = counts

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        shown: dict[str, Any] = {"id": self.id, "since": self.since, "seen": self.seen, "info": dict(self.info)}
        if self.kind == "runner":
            shown["bundles"] = [
                {"queue": queue, "sha": one.sha, "stage": one.stage, "error": one.error}
                for queue, one in sorted(self.loaded.items())
            ]
        return shown


class Peers:
    """All peers that are alive as far as this Tron knows."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, peer_id: str) -> Peer | None:
        """Return a peer, if it is known."""
        return self._peers.get(peer_id)

    def of(self, kind: Kind) -> list[Peer]:
        """Return all peers of a kind, the oldest first."""
        return sorted((peer for peer in self._peers.values() if peer.kind == kind), key=lambda p: (p.since, p.id))

    def seen(self, kind: Kind, peer_id: str, now: float, *, info: Any = None, queue: Any = None) -> tuple[Peer, bool]:
        """Note that a peer spoke; returns it, and whether it was unknown."""
        peer = self._peers.get(peer_id)
        new = peer is None or peer.kind != kind
        if peer is None or new:
            peer = self._peers[peer_id] = Peer(kind, peer_id, QUEUES[kind](peer_id), since=now, seen=now)
        peer.seen = now
        if isinstance(info, Mapping):
            peer.info = info
        if isinstance(queue, str) and queue:
            peer.queue = queue
        return peer, new

    def behind(self, version: int) -> list[Peer]:
        """Return the Frontends and Trons that still put messages into func queues by an older table."""
        return [peer for peer in self if peer.routes is not None and peer.routes < version]

    def gone(self, peer_id: str) -> Peer | None:
        """Forget a peer that said that it goes."""
        return self._peers.pop(peer_id, None)

    def forget_all(self) -> None:
        """Forget everybody: another Tron leads."""
        self._peers.clear()

    def forget_silent(self, now: float) -> list[Peer]:
        """Forget the peers that said nothing for too long, and return them."""
        silent = [peer for peer in self._peers.values() if now - peer.seen > SILENCE]
        for peer in silent:
            del self._peers[peer.id]
        return silent
