"""The control queue: who is there, and what they are told."""

from __future__ import annotations

import json

import pytest

from funcatron.brokers.base import Outgoing
from funcatron.message import topology
from funcatron.tron.peers import SILENCE, Peers


async def test_a_frontend_that_awakes_gets_the_route_table_and_where_the_tron_is(installation, tron, wait_until):
    frontend = await installation.frontend()
    await wait_until(lambda: frontend.actions("route") and frontend.actions("tron-info"))
    assert frontend.actions("route")[-1]["routes"] == []
    assert frontend.actions("tron-info")[-1]["tron-host"] == {"host": "127.0.0.1", "port": 3000}
    (peer,) = tron.peers.of("frontend")
    assert (peer.id, peer.info["hostname"]) == ("f1", "test")


async def test_a_runner_that_awakes_gets_all_bundles(installation, tron, wait_until):
    runner = await installation.runner()
    await wait_until(lambda: runner.actions("all-bundles"))
    assert runner.actions("all-bundles")[-1]["bundles"] == []


async def test_who_says_that_it_goes_is_forgotten(installation, tron, wait_until):
    frontend = await installation.frontend()
    await wait_until(lambda: tron.peers.of("frontend"))
    frontend.say("died")
    await wait_until(lambda: not tron.peers.of("frontend"))


async def test_an_unknown_frontend_that_beats_is_asked_to_introduce_itself(installation, tron, wait_until):
    frontend = await installation.frontend()
    await wait_until(lambda: frontend.actions("route"))
    tron.peers.gone("f1")
    frontend.heard.clear()
    frontend.say("heartbeat")
    await wait_until(lambda: frontend.actions("resend-awake") and frontend.actions("route"))


async def test_what_a_runner_says_of_its_funcs_is_known(installation, tron, wait_until):
    runner = await installation.runner()
    await wait_until(lambda: tron.peers.of("runner"))
    runner.say("heartbeat", funcs=[{"sha": "s", "queue": "func.x.s", "state": "asleep"}, "odd", {}])
    await wait_until(lambda: tron.peers.get("r1").loaded)
    assert tron.peers.get("r1").as_json()["bundles"] == [
        {"queue": "func.x.s", "sha": "s", "stage": "asleep", "error": None}
    ]


HEAD = {"msg-id": "m", "from": "x", "at": 1}


async def test_a_tron_that_starts_asks_who_is_there(installation, wait_until):
    await installation.frontend()
    await installation.runner()
    async with installation.tron() as tron:
        await wait_until(lambda: len(list(tron.peers)) == 2)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff", "not JSON"),
        (b"[1]", "not a JSON object"),
        (json.dumps({**HEAD, "action": "dance"}).encode(), "The action 'dance' is unknown"),
        (json.dumps({**HEAD, "action": "tron-info", "tron-host": {"host": "h", "port": 1}}).encode(), "not for a Tron"),
        (json.dumps({**HEAD, "action": "awake", "type": "toaster", "instance-id": "x"}).encode(), "type: "),
        (json.dumps({**HEAD, "action": "awake", "type": "runner"}).encode(), "instance-id"),
        (json.dumps({**HEAD, "action": "awake", "type": "runner", "instance-id": {}}).encode(), "instance-id"),
        (json.dumps({**HEAD, "action": "heartbeat", "type": "runner", "instance-id": "x" * 300}).encode(), "too long"),
    ],
)
async def test_what_cannot_be_understood_is_dead_lettered_with_the_reason(tron, client, wait_until, body, reason):
    tron.broker.publish(Outgoing(body, topology.FOR_TRON))
    await wait_until(lambda: tron.counters.dead_lettered == 1)
    (kept,) = (await client.get("/api/v2/dead-letters")).json()["dead-letters"]
    assert kept["reason"].startswith("control message: ")
    assert reason in kept["reason"]


async def test_newer_fields_are_ignored(installation, tron, wait_until):
    runner = await installation.runner()
    runner.say("heartbeat", version=7, **{"more": {"of": "it"}})
    runner.say("ack", **{"ack-id": "x"})
    await wait_until(lambda: tron.counters.control >= 3)
    assert tron.counters.dead_lettered == 0


def test_a_silent_peer_is_forgotten_after_a_while_and_returned():
    peers = Peers()
    peers.seen("runner", "old", 0.0)
    peers.seen("frontend", "new", 1.0)
    assert peers.forget_silent(SILENCE) == []
    assert [one.id for one in peers.forget_silent(SILENCE + 0.5)] == ["old"]
    assert [one.id for one in peers] == ["new"]


def test_a_peer_is_new_once_and_keeps_what_it_said():
    peers = Peers()
    _, new = peers.seen("runner", "x", 0.0, info={"pid": 1}, queue="q")
    again, known = peers.seen("runner", "x", 1.0)
    assert (new, known) == (True, False)
    assert (again.info, again.queue, again.seen) == ({"pid": 1}, "q", 1.0)
