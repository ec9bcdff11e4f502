"""The control queue: who is there, and what they are told."""

from __future__ import annotations

import json

import pytest

from funcatron.brokers.base import Outgoing
from funcatron.message import topology
from funcatron.tron.peers import SILENCE, Peers
from tests.unit.tron.conftest import Played


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


def figures(seq, **more):
    """A `stats` message about a Func that hosts or starts nothing."""
    func = {"life": 1, "queue": "func.x.s", "sha": "s", "age": 1.0, "in-flight": 0, "hosts": {}, **more}
    return {"start": "s1", "seq": seq, "full": True, "next": 1.0, "funcs": [func]}


async def test_why_a_runner_has_parked_a_func_is_known_with_its_next_figures(installation, tron, wait_until):
    runner = await installation.runner()
    runner.say("heartbeat", funcs=[{"sha": "s", "queue": "func.x.s", "state": "serving"}])
    runner.say("stats", **figures(0, state="crashing", reason="it does not start"))
    await wait_until(lambda: tron.peers.get("r1") and tron.peers.get("r1").loaded.get("func.x.s"))
    await wait_until(lambda: tron.peers.get("r1").loaded["func.x.s"].error == "it does not start")
    assert tron.peers.get("r1").loaded["func.x.s"].stage == "crashing"
    runner.say("stats", **figures(1, state="serving"))
    await wait_until(lambda: tron.peers.get("r1").loaded["func.x.s"].error is None)


async def test_whoever_scales_hears_of_runners_and_their_figures(installation, tron, wait_until):
    met, heard = [], []
    tron.control.on_brief = lambda peer: met.append(peer.id)
    tron.control.on_stats = heard.append
    runner = await installation.runner()
    runner.say("stats", **figures(0))
    await wait_until(lambda: heard and runner.actions("all-bundles"))
    assert met
    assert set(met) == {"r1"}
    assert heard[0]["instance-id"] == "r1"


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


class PlayedTron(Played):
    """Another Tron, by what it says."""

    kind = "tron"
    exchange = topology.FRONTENDS


async def test_another_tron_that_awakes_gets_the_route_table_and_where_the_leader_is(installation, tron, wait_until):
    other = PlayedTron(installation.hub, "t2")
    installation.played.append(other)
    await other.start()
    await wait_until(lambda: other.actions("route") and other.actions("tron-info"))
    assert other.actions("tron-info")[-1]["url"] == "http://127.0.0.1:3000"
    (peer,) = tron.peers.of("tron")
    assert (peer.id, peer.routes, peer.queue) == ("t2", None, other.queue)


async def test_what_another_tron_has_ended_counts_since_it_was_heard(installation, tron, wait_until):
    other = PlayedTron(installation.hub, "t2")
    installation.played.append(other)
    await other.start()
    other.say("heartbeat", dispatched={"func.x.1": 3}, ended=0, **{"routes-version": 0})
    await wait_until(lambda: [one.dispatched for one in tron.trons()] == [0, 3])
    other.say("heartbeat", dispatched={"func.x.2": 4})  # it has forgotten a queue that is long gone
    await wait_until(lambda: [one.dispatched for one in tron.trons()] == [0, 7])
    tron.control._ended["t2"] = 5  # so many it had ended when this Tron began to lead
    other.say("heartbeat", dispatched={"func.x.1": 4}, ended=7, **{"routes-version": 0})
    await wait_until(lambda: tron.control.statistics.flows()[0].ended == 2)


async def test_a_tron_that_is_silent_and_comes_back_counts_on(installation, tron, wait_until):
    other = PlayedTron(installation.hub, "t2")
    installation.played.append(other)
    await other.start()
    statistics = tron.control.statistics
    other.say("heartbeat", dispatched={"func.x.1": 3})
    await wait_until(lambda: tron.peers.get("t2") and tron.peers.get("t2").dispatched == 3)
    tron.peers.get("t2").seen -= 2 * SILENCE
    tron.control.tick()
    assert not tron.peers.of("tron")
    before = statistics._trons.published.get("func.x.1", 0)
    other.say("heartbeat", dispatched={"func.x.1": 5})
    await wait_until(lambda: statistics._trons.published["func.x.1"] == before + 2)


async def test_who_has_another_table_than_the_leader_is_told_it_again(installation, tron, wait_until):
    frontend = await installation.frontend()
    await wait_until(lambda: frontend.actions("route"))
    frontend.heard.clear()
    handled = tron.counters.control
    frontend.say("heartbeat", **{"routes-version": tron.table.version})
    frontend.say("heartbeat")
    await wait_until(lambda: tron.counters.control >= handled + 2)
    frontend.say("heartbeat", **{"routes-version": tron.table.version + 5})
    await wait_until(lambda: frontend.heard)
    assert [one["action"] for one in frontend.heard] == ["route"]


async def test_what_comes_to_a_tron_that_leads_no_more_stays_in_the_queue(tron):
    given_back: list[bool] = []

    class Comes:
        body = b"{}"

        def nack(self, *, requeue: bool) -> None:
            given_back.append(requeue)

    tron.leadership.tenure = None
    tron.control.handle(Comes())
    assert given_back == [True]


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
