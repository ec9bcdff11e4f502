"""Dispatch of the firehose, message by message."""

from __future__ import annotations

import json
import time

import pytest
import pytest_asyncio

from funcatron.brokers.base import Outgoing
from funcatron.message import topology


@pytest_asyncio.fixture
async def served(installation, tron, client, bundle):
    """A deployment that a Runner serves, and a Frontend that asks."""
    frontend, runner = await installation.frontend(), await installation.runner()
    stored = (await client.post("/api/v2/bundles", content=bundle())).json()
    await client.put("/api/v2/deployments/hello", json={"sha": stored["sha"]})
    await tron.deployments.settled("hello", stored["sha"], 5)
    return frontend, runner, stored["sha"]


async def test_a_message_is_forwarded_unchanged(served, wait_until):
    frontend, runner, _ = served
    runner.hold = True
    request_id = frontend.request("/hello/greet", body=b"\x00 not even JSON", deadline="99999999999999")
    await wait_until(lambda: runner.held)
    got = runner.held[0]
    assert got.body == b"\x00 not even JSON"
    assert got.properties.reply_to == frontend.queue
    assert got.properties.correlation_id == request_id
    assert got.properties.headers["path"] == "/hello/greet"


async def test_a_routing_key_that_was_cut_is_completed_by_the_headers(served):
    frontend, _, sha = served
    path = "/hello/" + "x" * 4000
    assert (await frontend.answer(frontend.request(path)))["sha"] == sha
    long_host = "h" * 250 + ".example"
    assert (await frontend.answer(frontend.request("/hello/x", host=long_host)))["sha"] == sha
    umlauts = "/hello/" + "ü" * 200
    assert (await frontend.answer(frontend.request(umlauts)))["sha"] == sha


async def test_a_foreign_front_end_may_enqueue_on_the_queue_with_only_a_body(served):
    frontend, _, sha = served
    body = json.dumps({"action": "service", "host": "Example.com:80", "request-uri": "/hello/greet?x=1"}).encode()
    frontend.broker.publish(Outgoing(body, topology.FIREHOSE, reply_to=frontend.queue, correlation_id="foreign"))
    assert (await frontend.answer("foreign"))["sha"] == sha


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xd8\xff", "its body is not JSON"),
        (b"[]", "its body is not a JSON object"),
        (b'{"action": "service"}', "it names no path"),
        (b'{"action": "dance", "uri": "/x"}', "the firehose takes no action 'dance'"),
    ],
)
async def test_what_cannot_be_decoded_is_kept_and_who_waits_is_told(
    installation, tron, client, wait_until, body, reason
):
    frontend = await installation.frontend()
    frontend.broker.publish(Outgoing(body, topology.FIREHOSE, reply_to=frontend.queue, correlation_id="bad"))
    answer = await frontend.answer("bad")
    assert answer["answer"]["status"] == 400
    assert reason in answer["answer"]["body"]
    await wait_until(lambda: tron.counters.dead_lettered == 1)
    (kept,) = (await client.get("/api/v2/dead-letters")).json()["dead-letters"]
    assert reason in kept["reason"]
    assert tron.counters.undecodable == 1


async def test_what_nobody_waits_for_and_nobody_serves_is_kept_and_can_be_sent_again(
    installation, tron, client, bundle, wait_until
):
    frontend = await installation.frontend()
    request_id = frontend.request("/hello/later", wait=False)
    await wait_until(lambda: tron.counters.dead_lettered == 1)
    (kept,) = (await client.get("/api/v2/dead-letters")).json()["dead-letters"]
    assert kept["reason"] == "no Func serves example.com/hello/later"
    assert kept["request-id"] == request_id
    assert (await client.get("/api/v2/dead-letters")).json()["dead-letters"] == [kept]  # looking changes nothing
    runner = await installation.runner(hold=True)
    stored = (await client.post("/api/v2/bundles", content=bundle())).json()
    await client.put("/api/v2/deployments/hello", json={"sha": stored["sha"]})
    await tron.deployments.settled("hello", stored["sha"], 5)
    assert (await client.post(f"/api/v2/dead-letters/{kept['id']}/retry")).status_code == 202
    await wait_until(lambda: runner.held)
    again = runner.held[0].properties
    assert again.headers["request-id"] == request_id
    assert "reason" not in again.headers
    assert again.persistent
    body = json.loads(runner.held[0].body)
    assert not {"deadline", "reply-to", "reply-queue"} & {*body}  # else a Runner would drop it as late
    assert not {"deadline", "attempt"} & {*again.headers}
    assert (await client.get("/api/v2/dead-letters")).json()["dead-letters"] == []


async def test_a_dead_letter_can_be_thrown_away_and_an_unknown_one_is_a_404(installation, tron, client, wait_until):
    frontend = await installation.frontend()
    frontend.request("/nowhere", wait=False)
    await wait_until(lambda: tron.counters.dead_lettered == 1)
    (kept,) = (await client.get("/api/v2/dead-letters")).json()["dead-letters"]
    assert (await client.delete("/api/v2/dead-letters/nope")).status_code == 404
    assert (await client.delete(f"/api/v2/dead-letters/{kept['id']}")).status_code == 204
    assert (await client.get("/api/v2/dead-letters")).json()["dead-letters"] == []


async def test_a_dead_control_message_cannot_be_sent_again(tron, client, installation, wait_until):
    frontend = await installation.frontend()
    frontend.say("dance")
    await wait_until(lambda: tron.counters.dead_lettered == 1)
    (kept,) = (await client.get("/api/v2/dead-letters")).json()["dead-letters"]
    assert kept["reason"] == "control message: The action 'dance' is unknown."
    refused = await client.post(f"/api/v2/dead-letters/{kept['id']}/retry")
    assert refused.status_code == 409
    assert len((await client.get("/api/v2/dead-letters")).json()["dead-letters"]) == 1


async def test_what_nobody_waits_for_any_more_is_dropped(installation, tron, wait_until):
    frontend = await installation.frontend()
    frontend.request("/nowhere", deadline=str(int(time.time() * 1000) - 1))
    await wait_until(lambda: tron.counters.expired == 1)
    assert tron.counters.unrouted == 0
    assert frontend.answers == {}


async def test_a_func_queue_that_somebody_deleted_is_made_again_and_nothing_is_lost(
    installation, tron, served, wait_until
):
    frontend, runner, sha = served
    queue = f"func.hello.{sha[:8]}"
    await tron.broker.delete(queue)
    asked = [frontend.request("/hello/x") for _ in range(3)]
    await wait_until(lambda: tron.counters.restored_queues >= 1)
    runner.serving.clear()
    runner.hear(runner.actions("enable")[0])
    for one in asked:
        assert (await frontend.answer(one))["sha"] == sha


async def test_the_broker_being_away_loses_nothing(installation, tron, served):
    frontend, _, sha = served
    tron.broker.cut()
    asked = [frontend.request("/hello/x") for _ in range(20)]
    for one in asked:
        assert (await frontend.answer(one))["sha"] == sha


async def test_callers_of_a_queue_that_is_too_deep_get_a_503_at_once(served, tron, wait_until):
    frontend, runner, sha = served
    runner.hold = True
    route = tron.table.ordered[0]
    tron.deployments.estate.limit({route.queue: 7})
    answer = (await frontend.answer(frontend.request("/hello/greet")))["answer"]
    assert (answer["status"], dict(answer["headers"])["retry-after"]) == (503, "7")
    problem = json.loads(answer["body"])
    assert problem["detail"] == "Too many requests wait for hello; come again in 7 s."
    assert (tron.counters.limited, tron.counters.ended) == (1, 1)
    frontend.request("/hello/later", wait=False)
    await wait_until(lambda: runner.held)
    assert frontend.actions("route")[-1]["routes"][0]["limited"] == {route.queue: 7}
    runner.hold = False
    tron.deployments.estate.limit({})
    assert (await frontend.answer(frontend.request("/hello/greet")))["sha"] == sha


async def test_what_nobody_says_again_holds_for_a_while_only(served, tron, monkeypatch):
    frontend, _, sha = served
    monkeypatch.setattr("funcatron.tron.dispatch.LIMITED", 0.0)
    tron.deployments.estate.limit({tron.table.ordered[0].queue: 7})
    assert (await frontend.answer(frontend.request("/hello/greet")))["sha"] == sha


async def test_limits_stay_with_the_routes_when_these_change(served, tron, installation, client, bundle):
    queue = tron.table.ordered[0].queue
    tron.deployments.estate.limit({queue: 7})
    stored = (await client.post("/api/v2/bundles", content=bundle(name="more", path="/more"))).json()
    await client.put("/api/v2/deployments/more", json={"sha": stored["sha"]})
    await tron.deployments.settled("more", stored["sha"], 5)
    assert tron.table.limited == {queue: 7}
    assert len(tron.table) == 2
