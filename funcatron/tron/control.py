"""The Tron's control queue: what Frontends and Runners say about themselves, and what they are told in return."""

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
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Kind, Loaded, Peer, Peers
from funcatron.tron.routes import RouteTable
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
    """Handles the messages of the control queue. Plain calls on the event loop; nothing here waits."""

    def __init__(
        self,
        outbox: Outbox,
        peers: Peers,
        wanted: Wanted,
        dead_letters: DeadLetters,
        counters: Counters,
        tasks: Tasks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.outbox = outbox
        self.peers = peers
        self.wanted = wanted
        self.dead_letters = dead_letters
        self.counters = counters
        self.tasks = tasks
        self.clock = clock
        self._actions: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "awake": self._awake,
            "heartbeat": self._heartbeat,
            "died": self._died,
            "ack": self._ack,
        }

    async def start(self, broker: Broker, queue: str) -> Consumer:
        """Begin to take from the control queue."""
        return await broker.consume(queue, self.handle, prefetch=PREFETCH)

    def handle(self, delivery: Delivery) -> None:
        """Do what a message says, then ack it; what cannot be understood is dead-lettered."""
        try:
            message = parse(delivery.body)
            action = self._actions.get(message.action)
            if action is None:
                raise BadMessage(f"The action {message.action!r} is not for a Tron.")
            action(message.fields)
        except BadMessage as err:
            self.tasks.start(self.dead_letters.put(delivery, f"control message: {err}"), "dead-lettering a message")
            return
        self.counters.control += 1
        delivery.ack()

    def tick(self) -> None:
        """Forget who has been silent for too long."""
        for peer in self.peers.forget_silent(self.clock()):
            log.warning("the %s %s has been silent for too long and is forgotten", peer.kind, peer.id)
            self._gone(peer)

    def _awake(self, message: Mapping[str, Any]) -> None:
        peer, _ = self._seen(message)
        log.info("%s %s is awake", peer.kind, peer.id)
        if peer.kind == "runner":
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
        if peer.kind == "runner":
            self._note_funcs(peer, message)

    def _died(self, message: Mapping[str, Any]) -> None:
        peer = self.peers.gone(_instance(message))
        if peer is not None:
            log.info("%s %s said that it goes", peer.kind, peer.id)
            self._gone(peer)

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

    def _note_funcs(self, peer: Peer, message: Mapping[str, Any]) -> None:
        """Take what a Runner says about all its Funcs, which is also how a new Tron learns of them. What failed to load
        is none of them; it is remembered as long as it is wanted."""
        funcs = message.get("funcs")
        if not isinstance(funcs, list):
            return
        failed = {queue: one for queue, one in peer.loaded.items() if one.stage == "failed" and self._wanted(one.sha)}
        said = [one for one in funcs if isinstance(one, Mapping)]
        found = [(one.get("queue"), one.get("sha"), one.get("state")) for one in said]
        peer.loaded = failed | {
            queue: Loaded(sha, str(state))
            for queue, sha, state in found
            if isinstance(queue, str) and isinstance(sha, str)
        }

    def _wanted(self, sha: str) -> bool:
        return self.wanted.queue_of(sha) is not None

    def _brief(self, peer: Peer) -> None:
        """Tell a peer all that it has to know."""
        self.outbox.tron_info(peer.queue)
        if peer.kind == "frontend":
            self.outbox.routes(self.wanted.table, peer.queue)
        else:
            self.wanted.runner_awake(peer, self.outbox.all_bundles(self.wanted.bundles(), peer.queue))

    def _seen(self, message: Mapping[str, Any]) -> tuple[Peer, bool]:
        kind: Kind = message["type"]
        info, queue = message.get("host_info"), message.get("reply-to")
        return self.peers.seen(kind, _instance(message), self.clock(), info=info, queue=queue)

    def _gone(self, peer: Peer) -> None:
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
