"""The Runner's talk with the Tron, on the memory broker; every message follows its schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from funcatron.brokers.base import Delivery, Outgoing, Queue
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import LoadError
from funcatron.message import control as messages
from funcatron.message import encode, validate
from funcatron.message.topology import DEAD_LETTER, FOR_TRON, RUNNERS
from funcatron.runner import control as control_module
from funcatron.runner.allotment import Allotment
from funcatron.runner.control import Control
from funcatron.runner.deployment import Deployment
from funcatron.runner.outbox import Outbox
from tests.unit.runner.fakes import until

SHA = "cd" * 32
TRON = ("tron.local", 3000)


class PlayedFleet:
    """Funcs that do nothing but remember."""

    def __init__(self) -> None:
        self.serving: dict[str, Any] = {}
        self.leaving: set[Any] = set()
        self.done: list[Any] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def report(self) -> list[dict[str, Any]]:
        return [{"sha": SHA, "queue": "q", "state": "serving"}]

    async def enable(self, deployment: Deployment) -> list[str]:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.done.append(("enable", deployment.queue))
        return ["app.greet"]

    async def disable(self, sha: str, queue: str | None, *, drain: bool) -> bool:
        self.done.append(("disable", queue, drain))
        return True

    async def reconcile(self, wanted: list[Deployment]) -> None:
        self.done.append(("reconcile", [deployment.queue for deployment in wanted]))

    def allocate(self, wanted: dict[str, Allotment]) -> None:
        self.done.append(("allocate", wanted))


class Talk:
    """A Control and a Tron that listens."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.broker, self.tron = MemoryBroker(self.hub), MemoryBroker(self.hub)
        self.fleet = PlayedFleet()
        self.heard: list[dict[str, Any]] = []
        self.dead: list[Delivery] = []
        self.moved: list[tuple[str, int]] = []
        self.ends = 0

    async def start(self) -> None:
        await self.broker.connect()
        await self.tron.connect()
        await self.tron.declare(Queue(FOR_TRON))
        await self.tron.declare(Queue(DEAD_LETTER))
        await self.tron.consume(FOR_TRON, self._hear, prefetch=100)
        await self.tron.consume(DEAD_LETTER, self.dead.append, prefetch=100)
        self.outbox = Outbox(self.broker, "r1")
        self.control = Control(
            "r1",
            self.broker,
            self.outbox,
            self.fleet,
            control_queue=FOR_TRON,
            capacity={"hosts": 8},
            on_tron=lambda host, port: self.moved.append((host, port)),
            on_die=self._end,
        )
        await self.control.start()

    def _end(self) -> None:
        self.ends += 1

    def _hear(self, delivery: Delivery) -> None:
        message = json.loads(delivery.body)
        validate(message["action"], message)
        assert delivery.properties.headers["action"] == message["action"]
        self.heard.append(message)
        delivery.ack()

    def tell(self, message: dict[str, Any], exchange: str = "") -> str:
        self.tron.publish(Outgoing(encode(message), "" if exchange else "funcatron.runner.r1", exchange=exchange))
        return str(message.get("msg-id"))

    async def hears(self, action: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        def found() -> list[dict[str, Any]] | None:
            fit = [m for m in self.heard if m["action"] == action and fields.items() <= m.items()]
            return fit if len(fit) >= count else None

        return (await until(found))[count - 1]  # type: ignore[no-any-return]


@pytest_asyncio.fixture
async def talk() -> AsyncIterator[Talk]:
    """A Runner that has just come."""
    made = Talk()
    await made.start()
    yield made
    await made.control.stop()
    await made.outbox.settle()
    await made.broker.close()
    await made.tron.close()


def enable(queue: str = "q1") -> dict[str, Any]:
    return messages.enable("tron", {"sha": SHA, "queue": queue, "name": "n", "props": {"a": 1}}, TRON)


async def test_a_runner_says_what_it_is(talk: Talk) -> None:
    awake = await talk.hears("awake")
    assert awake["type"] == "runner"
    assert awake["instance-id"] == "r1"
    assert awake["reply-to"] == "funcatron.runner.r1"
    assert awake["bundles"] == [SHA]
    assert awake["capacity"] == {"hosts": 8}
    assert {"hostname", "pid", "python", "version"} <= awake["host_info"].keys()


async def test_it_says_so_again_after_a_reconnect_and_when_asked(talk: Talk) -> None:
    await talk.hears("awake")
    talk.broker.cut()
    await talk.hears("awake", 2)
    talk.tell(messages.resend_awake("tron"), RUNNERS)
    await talk.hears("awake", 3)


async def test_heartbeats_tell_how_the_funcs_fare(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "BEAT", 0.01)
    await talk.control.stop()
    await talk.control.start()
    beat = await talk.hears("heartbeat")
    assert beat["funcs"] == [{"sha": SHA, "queue": "q", "state": "serving"}]


async def test_enable_is_acked_twice_and_tells_the_operations(talk: Talk) -> None:
    told = talk.tell(enable())
    loading = await talk.hears("ack", stage="loading")
    assert loading["final"] is False
    serving = await talk.hears("ack", stage="serving")
    assert serving["ack-id"] == told
    assert (serving["ok"], serving["final"], serving["operations"]) == (True, True, ["app.greet"])
    assert (serving["sha"], serving["queue"]) == (SHA, "q1")
    assert talk.moved == [TRON]


async def test_a_bundle_that_cannot_be_loaded_is_acked_with_every_fault(talk: Talk) -> None:
    talk.fleet.error = LoadError("the bundle cannot be loaded", ["no module x", "no function y"])
    talk.tell(enable())
    failed = await talk.hears("ack", stage="failed")
    assert (failed["ok"], failed["final"]) == (False, True)
    assert failed["error"] == "the bundle cannot be loaded"
    assert failed["errors"] == ["no module x", "no function y"]


async def test_an_enable_that_fails_unexpectedly_is_acked_as_well(talk: Talk, caplog: Any) -> None:
    talk.fleet.error = RuntimeError("no more threads")
    told = talk.tell(enable())
    failed = await talk.hears("ack", stage="failed")
    assert (failed["ack-id"], failed["ok"], failed["final"]) == (told, False, True)
    assert failed["error"] == "RuntimeError: no more threads"
    assert "no more threads" in caplog.text


async def test_a_disable_is_acked_once_the_func_is_gone(talk: Talk) -> None:
    told = talk.tell(messages.disable("tron", SHA, "q1"), RUNNERS)
    retired = await talk.hears("ack", stage="retired")
    assert retired["ack-id"] == told
    assert talk.fleet.done == [("disable", "q1", True)]


async def test_changes_of_one_queue_come_in_order_and_hold_up_no_other(talk: Talk) -> None:
    talk.fleet.gate.clear()
    talk.tell(enable("q1"))
    talk.tell(messages.disable("tron", SHA, "q1"))
    talk.tell(messages.disable("tron", SHA, "q2"))
    await until(lambda: talk.fleet.done == [("disable", "q2", True)])
    talk.fleet.gate.set()
    await until(lambda: len(talk.fleet.done) == 3)
    assert talk.fleet.done[1:] == [("enable", "q1"), ("disable", "q1", True)]


async def test_all_bundles_is_the_whole_wanted_state(talk: Talk) -> None:
    talk.tell(messages.all_bundles("tron", [{"sha": SHA, "queue": "a"}, {"sha": SHA, "queue": "b"}]))
    await until(lambda: talk.fleet.done == [("reconcile", ["a", "b"])])


async def test_tron_info_says_where_bundles_are(talk: Talk) -> None:
    talk.tell(messages.tron_info("tron", TRON))
    await until(lambda: talk.moved == [TRON])


async def test_only_its_own_end_is_followed(talk: Talk) -> None:
    talk.tell(messages.die("tron", "another"), RUNNERS)
    talk.tell(messages.die("tron", "r1"), RUNNERS)
    await until(lambda: talk.ends == 1)


@pytest.mark.parametrize(
    "body",
    [b"no json", b"[]", b'{"action": "unheard-of"}', b'{"action": "enable"}', encode(messages.died("x", "runner"))],
)
async def test_what_is_no_message_for_a_runner_is_dead_lettered(talk: Talk, body: bytes) -> None:
    talk.tron.publish(Outgoing(body, "funcatron.runner.r1"))
    await until(lambda: talk.dead)
    assert talk.dead[0].body == body
    assert talk.dead[0].properties.headers["reason"].startswith("control message")


async def test_died_is_said_at_the_end(talk: Talk) -> None:
    talk.control.died()
    assert (await talk.hears("died"))["instance-id"] == "r1"


async def test_what_a_tron_says_whose_epoch_is_over_is_passed_over(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    new = {"epoch": 7, "registry": "one"}
    talk.tell(messages.enable("new", {"sha": SHA, "queue": "q1"}, TRON, **new))
    await talk.hears("ack", stage="serving")
    old = {"epoch": 6, "registry": "one"}
    talk.tell(messages.disable("old", SHA, "q1", **old))
    talk.tell(messages.all_bundles("old", [], **old))
    talk.tell(messages.enable("old", {"sha": SHA, "queue": "q2"}, ("old", 1), **old))
    talk.tell(messages.tron_info("old", ("old", 1), **old))
    talk.tell(messages.disable("new", SHA, "q3", **new))
    await talk.hears("ack", stage="retired", queue="q3")
    assert [what[:2] for what in talk.fleet.done] == [("enable", "q1"), ("disable", "q3")]
    assert ("old", 1) not in talk.moved
    assert not talk.dead
    assert "disable from old is passed over: its epoch 6 is over, 7 is the present one" in caplog.text


async def test_the_allocation_of_the_present_leader_is_followed(talk: Talk) -> None:
    talk.tell(messages.allocate("tron", [{"queue": "a", "instances": 3}], epoch=7))
    talk.tell(messages.allocate("old", [], epoch=6))
    talk.tell(messages.allocate("tron", [{"queue": "a", "instances": 0, "waker": True}], epoch=7))
    await until(lambda: len(talk.fleet.done) == 2)
    assert talk.fleet.done == [
        ("allocate", {"a": Allotment(3)}),
        ("allocate", {"a": Allotment(0, waker=True)}),
    ]


async def test_news_do_not_wait_for_the_next_second(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "TELL", 3600.0)
    monkeypatch.setattr(control_module, "HASTE", 0.01)
    await talk.control.stop()
    await talk.control.start()
    talk.tell(messages.tron_info("tron", TRON))
    await until(lambda: talk.moved)
    before = len([one for one in talk.heard if one["action"] == "stats"])
    talk.control.awake()
    talk.control.hasten()
    await talk.hears("stats", before + 1)


async def test_epochs_are_compared_within_one_registry(talk: Talk) -> None:
    talk.tell(messages.disable("one", SHA, "q1", epoch=9, registry="before"))
    talk.tell(messages.disable("two", SHA, "q2", epoch=1, registry="made anew"))
    talk.tell(messages.disable("a Tron without epochs", SHA, "q3"))
    await talk.hears("ack", stage="retired", queue="q3")
    assert [what[1] for what in talk.fleet.done] == ["q1", "q2", "q3"]
