"""The control queue, which the Tron that leads consumes: what Frontends, Runners and the other Trons say about
themselves, and what they are told in return."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from funcatron.brokers.base import Broker, Consumer, Delivery
from funcatron.errors import BadMessage
from funcatron.message import parse
from funcatron.stores.records import Version
from funcatron.tron.counters import Counters
from funcatron.tron.deadletters import DeadLetters
from funcatron.tron.depths import Depths
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Kind, Loaded, Peer, Peers
from funcatron.tron.routes import RouteTable
from funcatron.tron.statistics import Statistics
from funcatron.tron.tasks import Tasks

log = logging.getLogger("funcatron.tron.control")

PREFETCH = 100
"""Control messages in hand at most."""

LONGEST_ID = 200


class Wanted(Protocol):
    """What the control queue needs of the deployments."""

    @property
    def table(self) -> RouteTable:
        """The route table that Frontends shall have."""

    def bundles(self) -> list[tuple[str, Version]]:
        """Return everything that Runners shall serve, by deployment name."""

    def queue_of(self, sha: str) -> str | None:
        """Return the func queue of a SHA that is served, loaded or drained."""

    def runner_awake(self, runner: Peer, msg_id: str) -> None:
        """Note that a Runner was told everything, by the message `msg_id`."""

    def runner_spoke(self, runner: Peer, queue: str, loaded: Loaded, ack_id: str) -> None:
        """Note what a Runner said about a func queue."""

    def runner_gone(self, runner: Peer) -> None:
        """Note that a Runner is no more."""


class Control:
    """Handles the messages of the control queue. Plain calls on the event loop; nothing here waits.

    holds: whether this Tron leads, by its own clock; else what comes is another's to handle.
    """

    def __init__(
        self,
        outbox: Outbox,
        peers: Peers,
        wanted: Wanted,
        dead_letters: DeadLetters,
        counters: Counters,
        tasks: Tasks,
        clock: Callable[[], float] = time.time,
        statistics: Statistics | None = None,
        holds: Callable[[], bool] = lambda: True,
    ) -> None:
        self.outbox = outbox
        self.peers = peers
        self.wanted = wanted
        self.dead_letters = dead_letters
        self.counters = counters
        self.tasks = tasks
        self.clock = clock
        self.statistics = statistics or Statistics()
        self.depths: Depths | None = None  # read each tick, once there is a gauge
        self.on_brief: Callable[[Peer], None] = lambda _: None  # told of a Runner before that is told what to serve
        self.on_stats: Callable[[Mapping[str, Any]], None] = lambda _: None  # given each `stats` message
        self._holds = holds
        self._ended: dict[str, int] = {}  # what each Tron had ended itself when it was heard for the first time
        self._actions: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "awake": self._awake,
            "heartbeat": self._heartbeat,
            "died": self._died,
            "ack": self._ack,
            "stats": self._stats,
        }

    async def start(self, broker: Broker, queue: str) -> Consumer:
        """Begin to take from the control queue."""
        return await broker.consume(queue, self.handle, prefetch=PREFETCH)

    def handle(self, delivery: Delivery) -> None:
        """Do what a message says, then ack it; what cannot be understood is dead-lettered."""
        if not self._holds():
            delivery.nack(requeue=True)
            return
        try:
            message = parse(delivery.body)
            action = self._actions.get(message.action)
            if action is None:
                raise BadMessage(f"The action {message.action!r} is not for a Tron.")
            if message.sender == self.outbox.instance:  # said before it led
                delivery.ack()
                return
            action(message.fields)
            if self.peers.get(message.sender) is not None:
                self.statistics.heard(message.sender, message.at)
        except BadMessage as err:
            self.tasks.start(self.dead_letters.put(delivery, f"control message: {err}"), "dead-lettering a message")
            return
        self.counters.control += 1
        delivery.ack()

    def tick(self) -> None:
        """Forget who has been silent for too long, and have the queues measured."""
        for peer in self.peers.forget_silent(self.clock()):
            log.warning("the %s %s has been silent for too long and is forgotten", peer.kind, peer.id)
            self._gone(peer)
        self._dispatched(self.outbox.instance, self.counters.queues, self.counters.ended)
        self.statistics.want((version.queue(name), name, version.sha) for name, version in self.wanted.bundles())
        self.statistics.tick()
        if self.depths is not None:
            self.tasks.start(self.depths.collect(self.statistics.queues), "measuring the queues")

    def _awake(self, message: Mapping[str, Any]) -> None:
        peer, _ = self._seen(message)
        log.info("%s %s is awake", peer.kind, peer.id)
        if peer.kind == "tron":
            self._note_tron(peer, message)
        elif peer.kind == "runner":
            found = [(self.wanted.queue_of(sha), sha) for sha in message.get("bundles", [])]
            peer.loaded = {queue: Loaded(sha, "loaded") for queue, sha in found if queue is not None}
        self._brief(peer)

    def _heartbeat(self, message: Mapping[str, Any]) -> None:
        peer, new = self._seen(message)
        if new:  # this Tron has started after it
            log.info("%s %s is known by its heartbeat", peer.kind, peer.id)
            if peer.kind == "frontend":
                self.outbox.resend_awake(peer.queue)
            self._brief(peer)
        elif message.get("routes-version") not in {None, self.wanted.table.version}:
            self.outbox.routes(self.wanted.table, peer.queue)  # it has missed a change, or was told by a former leader
        if peer.kind == "runner":
            self._note_funcs(peer, message)
        elif peer.kind == "tron":
            self._note_tron(peer, message)
        else:
            direct = peer.info.get("routing") == "direct"
            self.statistics.frontend_published(peer.id, message.get("published"), direct=direct)

    def _died(self, message: Mapping[str, Any]) -> None:
        peer = self.peers.gone(_instance(message))
        if peer is not None:
            log.info("%s %s said that it goes", peer.kind, peer.id)
            self._gone(peer, for_good=True)

    def _ack(self, message: Mapping[str, Any]) -> None:
        sha = message.get("sha")
        if not isinstance(sha, str):
            return  # of a message that asks for nothing more
        peer, new = self.peers.seen("runner", _instance(message), self.clock())
        if new:
            self._brief(peer)
        queue = message.get("queue") or self.wanted.queue_of(sha)
        if not isinstance(queue, str):
            return  # a bundle that nobody wants any more
        loaded = Loaded(sha, *_stage(message))
        if loaded.stage == "retired":
            peer.loaded.pop(queue, None)
        else:
            peer.loaded[queue] = loaded
        self.wanted.runner_spoke(peer, queue, loaded, str(message.get("ack-id", "")))

    def _stats(self, message: Mapping[str, Any]) -> None:
        peer, new = self.peers.seen("runner", _instance(message), self.clock())
        if new:
            self._brief(peer)
        if not self.statistics.take(message):
            log.info("asking runner %s for all its figures", peer.id)
            self.outbox.resend_awake(peer.queue)
        for one in message["funcs"]:  # trouble, and its end, is not to wait for the heartbeat
            known = peer.loaded.get(one["queue"])
            if known is not None and known.sha == one["sha"] and known.error != one.get("reason"):
                peer.loaded[one["queue"]] = Loaded(one["sha"], one.get("state", known.stage), one.get("reason"))
        self.on_stats(message)

    def _note_funcs(self, peer: Peer, message: Mapping[str, Any]) -> None:
        """Take what a Runner says about all its Funcs, which is also how a new Tron learns of them. What failed to load
        is none of them; it is remembered as long as it is wanted."""
        funcs = message.get("funcs")
        if not isinstance(funcs, list):
            return
        failed = {queue: one for queue, one in peer.loaded.items() if one.stage == "failed" and self._wanted(one.sha)}
        said = [one for one in funcs if isinstance(one, Mapping)]
        found = [(one.get("queue"), one.get("sha"), one.get("state"), one.get("reason")) for one in said]
        peer.loaded = failed | {
            queue: Loaded(sha, str(state), reason)
            for queue, sha, state, reason in found
            if isinstance(queue, str) and isinstance(sha, str)
        }

    def _note_tron(self, peer: Peer, message: Mapping[str, Any]) -> None:
        """Take what another Tron says about itself: where it is, by which table it dispatches, and how much."""
        peer.routes = message.get("routes-version")
        peer.info = {**peer.info, **{name: message[name] for name in ("url", "since") if name in message}}
        dispatched = message.get("dispatched")
        if dispatched is not None:
            peer.count(dispatched)
        self._dispatched(peer.id, dispatched, message.get("ended", 0))

    def _dispatched(self, tron: str, totals: Mapping[str, int] | None, ended: int) -> None:
        """Take how many messages a Tron has put into func queues, and how many it has ended itself: of these, those
        since it was heard for the first time, which for a Tron that starts now are all."""
        before = self._ended.setdefault(tron, ended)
        self.statistics.tron_dispatched(tron, totals, ended=ended - before)

    def _wanted(self, sha: str) -> bool:
        return self.wanted.queue_of(sha) is not None

    def _brief(self, peer: Peer) -> None:
        """Tell a peer all that it has to know."""
        self.outbox.tron_info(peer.queue)
        if peer.kind in {"frontend", "tron"}:
            self.outbox.routes(self.wanted.table, peer.queue)
        else:
            self.on_brief(peer)
            self.wanted.runner_awake(peer, self.outbox.all_bundles(self.wanted.bundles(), peer.queue))

    def _seen(self, message: Mapping[str, Any]) -> tuple[Peer, bool]:
        kind: Kind = message["type"]
        info, queue = message.get("host_info"), message.get("reply-to")
        peer, new = self.peers.seen(kind, _instance(message), self.clock(), info=info, queue=queue)
        if kind == "frontend":
            direct = isinstance(info, Mapping) and info.get("routing") == "direct"
            peer.routes = message.get("routes-version") if direct else None
        return peer, new

    def _gone(self, peer: Peer, *, for_good: bool = False) -> None:
        if peer.kind != "tron" or for_good:  # a Tron that was paused comes back, and counts on from where it was
            self.statistics.gone(peer.id)
        if peer.kind == "runner":
            self.wanted.runner_gone(peer)


def _instance(message: Mapping[str, Any]) -> str:
    instance: str = message.get("instance-id") or message["from"]
    if not 0 < len(instance) <= LONGEST_ID:
        raise BadMessage(f"The instance-id is too long (at most {LONGEST_ID} characters) or empty.")
    return instance


def _stage(ack: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the stage that an ack tells, and the error if it is a failure."""
    stage: str = ack.get("stage", "serving")
    if ack.get("ok") is False and stage != "retired":
        return "failed", _error(ack)
    return stage, None


def _error(ack: Mapping[str, Any]) -> str:
    """Return what a Runner said went wrong, a line for each error."""
    lines = [ack["error"]] if ack.get("error") else []
    lines += [one for one in ack.get("errors", []) if one not in "\n".join(lines)]
    return "\n".join(lines) or "it did not say why"
