"""Route tables, both routings, and the Frontend's own pages."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from lua_support.consumer import Consumer, answer
from lua_support.nginx import Nginx
from lua_support.rabbit import Rabbit
from lua_support.waiting import until

Start = Callable[..., Nginx]
SHA = "c0ffee00" * 8
QUEUE = "func.pets.c0ffee00"


@pytest.fixture(scope="module")
def funcs(rabbit: Rabbit) -> Iterator[Consumer]:
    """A consumer of the firehose, of a func queue and of the Tron's control queue."""
    taker = Consumer(rabbit, "funcatron.firehose", QUEUE, "for_tron").start()
    yield taker
    taker.stop()


@pytest.fixture(autouse=True)
def _usual(funcs: Consumer) -> None:
    funcs.reply = lambda message: answer(200, message.queue.encode(), sha=SHA)
    while not funcs.messages.empty():
        funcs.messages.get()


def publish_routes(funcs: Consumer, version: int, *routes: dict[str, Any], tron: str = "tron-1", key: str = "") -> None:
    message = {"action": "route", "msg-id": "m", "from": tron, "at": 1, "version": 1, "routes-version": version}
    funcs.publish("" if key else "funcatron.frontends", key, message | {"routes": list(routes)})


def route(path: str, queue: str = QUEUE, host: str | None = None) -> dict[str, Any]:
    return {"host": host, "path": path, "queue": queue, "name": "pets", "sha": SHA}


def has_version(nginx: Nginx, version: int) -> None:
    until(lambda: nginx.stats().get("routes-version") == version, 5, f"routes {version}")


def test_an_awake_frontend_gets_the_table_on_its_own_queue(start_nginx: Start, rabbit: Rabbit, funcs: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend())
    awake = until(lambda: next((m for m in list(funcs.messages.queue) if m.json["action"] == "awake"), None), 5)
    assert awake.queue == "for_tron"
    publish_routes(funcs, 7, route("/pets"), key=awake.json["reply-to"])
    has_version(nginx, 7)


def test_direct_routing_goes_to_the_func_queue_and_falls_back_to_the_firehose(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct"))
    assert httpx.get(nginx.url + "/pets/1").text == "funcatron.firehose"  # no table yet
    publish_routes(funcs, 1, route("/pets"))
    has_version(nginx, 1)
    assert httpx.get(nginx.url + "/pets/1", headers={"X-Request-Id": "d-1"}).text == QUEUE
    message = next(m for m in list(funcs.messages.queue) if m.properties.correlation_id == "d-1")
    assert (message.exchange, message.routing_key) == ("", QUEUE)
    assert message.properties.headers["path"] == "/pets/1"
    assert httpx.get(nginx.url + "/petsx").text == "funcatron.firehose"
    assert httpx.get(nginx.url + "/other").text == "funcatron.firehose"
    line = nginx.line("d-1")
    assert (line["route"], line["queue"], line["sha"]) == ("/pets", QUEUE, SHA)


def test_a_queue_that_is_too_deep_gets_nothing_directly_so_that_a_tron_says_when_to_come_again(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct"))
    publish_routes(funcs, 1, route("/pets") | {"limited": {QUEUE: 7}})
    has_version(nginx, 1)
    assert httpx.get(nginx.url + "/pets/1").text == "funcatron.firehose"
    publish_routes(funcs, 2, route("/pets") | {"limited": {"func.another": 7}})
    has_version(nginx, 2)
    assert httpx.get(nginx.url + "/pets/1").text == QUEUE


def test_a_frontend_tells_at_once_that_it_has_taken_a_table(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    """Only then may the queues of the table before go; its heartbeat else comes every 10 s."""
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct"))
    publish_routes(funcs, 3, route("/pets"))
    has_version(nginx, 3)

    def told() -> bool:
        beats = [m.json for m in list(funcs.messages.queue) if m.json["action"] == "heartbeat"]
        return any(beat.get("routes-version") == 3 for beat in beats)

    until(told, 5, "the heartbeat")


def test_firehose_routing_ignores_the_table_but_logs_the_route(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend())
    publish_routes(funcs, 1, route("/pets"))
    has_version(nginx, 1)
    assert httpx.get(nginx.url + "/pets/1", headers={"X-Request-Id": "f-1"}).text == "funcatron.firehose"
    assert nginx.line("f-1")["route"] == "/pets"


def test_an_older_table_of_the_same_tron_is_ignored_and_one_of_another_tron_is_not(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend())
    publish_routes(funcs, 5, route("/five"))
    has_version(nginx, 5)
    publish_routes(funcs, 4, route("/four"))
    publish_routes(funcs, 6, route("/six"))
    has_version(nginx, 6)
    publish_routes(funcs, 1, route("/one"), tron="tron-2")
    has_version(nginx, 1)
    listed = httpx.get(nginx.status_url + "/__routes").json()
    assert [r["path"] for r in listed["routes"]] == ["/one"]


def test_routes_are_told_as_the_original_tells_them(start_nginx: Start, rabbit: Rabbit, funcs: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend())
    empty = httpx.get(nginx.url + "/__routes")
    assert empty.headers["content-type"] == "application/json"
    assert empty.json() == {"version": "0.1.0", "routes": []}
    publish_routes(funcs, 3, route("/a", host="h.example"), route("/b"))
    has_version(nginx, 3)
    listed = httpx.get(nginx.url + "/__routes").json()
    assert listed["routes-version"] == 3
    assert [{k: r[k] for k in ("host", "path", "queue")} for r in listed["routes"]] == [
        {"host": "h.example", "path": "/a", "queue": QUEUE}, {"host": None, "path": "/b", "queue": QUEUE},
    ]  # fmt: skip


def test_the_frontends_own_pages_never_shadow_a_func(start_nginx: Start, rabbit: Rabbit, funcs: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend())
    for page in ("/__health", "/__ready", "/__routes", "/__stats"):
        assert httpx.get(nginx.url + page).headers["content-type"] == "application/json"
    publish_routes(funcs, 1, route("/__health"), route("/pets"))
    has_version(nginx, 1)
    assert httpx.get(nginx.url + "/__health").text == "funcatron.firehose"
    assert httpx.get(nginx.url + "/__health/deeper").text == "funcatron.firehose"
    assert httpx.get(nginx.url + "/__ready").json() == {"status": "pass"}
    publish_routes(funcs, 2, route("/"))
    has_version(nginx, 2)
    for page in ("/__health", "/__ready", "/__routes", "/__stats", "/__funcatron_problem"):
        assert httpx.get(nginx.url + page).text == "funcatron.firehose"
        if page != "/__funcatron_problem":
            assert httpx.get(nginx.status_url + page).headers["content-type"] == "application/json"


def test_the_frontends_own_pages_are_read_only(start_nginx: Start, rabbit: Rabbit) -> None:
    nginx = start_nginx(rabbit.frontend())
    response = httpx.post(nginx.url + "/__health", content=b"x")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.headers["content-type"] == "application/problem+json"
    assert httpx.head(nginx.url + "/__health").status_code == 200
    missing = httpx.get(nginx.status_url + "/pets")
    assert missing.status_code == 404
    assert missing.json()["request-id"] == missing.headers["x-request-id"]


def test_a_table_that_makes_no_sense_does_no_harm(start_nginx: Start, rabbit: Rabbit, funcs: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct"))
    for number, routes in enumerate((None, "x", {"a": 1}, [1, None, {"path": 5}, {"path": "/x"}]), 1):
        message = {"action": "route", "from": "t", "routes-version": number, "routes": routes}
        funcs.publish("funcatron.frontends", "", message)
        has_version(nginx, number)
    assert httpx.get(nginx.url + "/x").text == "funcatron.firehose"
    assert "make no sense" in nginx.errors()


def test_every_worker_has_its_own_queue_and_knows_the_table(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct"), WORKERS="3")
    until(lambda: len(instances(nginx)) == 3 and all(s["link"]["state"] == "up" for s in stats(nginx)), 10)
    publish_routes(funcs, 1, route("/pets"))
    until(lambda: all(s.get("routes-version") == 1 for s in stats(nginx)), 10)
    assert {httpx.get(nginx.url + "/pets").text for _ in range(30)} == {QUEUE}
    assert len({s["link"]["queue"] for s in stats(nginx)}) == 3


def stats(nginx: Nginx) -> list[dict[str, Any]]:
    """What the workers say, each at least once if one is lucky: to be called until it is."""
    seen = [nginx.stats() for _ in range(40)]
    return list({s["instance"]: s for s in seen}.values())


def instances(nginx: Nginx) -> set[str]:
    return {s["instance"] for s in stats(nginx)}


def test_versions_that_share_a_route_get_their_shares_by_a_stable_key(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    """By CRC-32 of the request id, or of the header that the route names, modulo 100: as the Tron does it."""
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct"))
    other = "funcatron.firehose"  # any queue that the consumer takes from
    shares = [{"queue": QUEUE, "sha": SHA, "percent": 70}, {"queue": other, "sha": "b" * 64, "percent": 30}]
    publish_routes(funcs, 1, {**route("/pets"), "split": shares}, {**route("/by"), "split": shares, "sticky": "x-user"})
    has_version(nginx, 1)
    ids = [f"id-{number}" for number in range(60)]
    got = [httpx.get(nginx.url + "/pets/1", headers={"X-Request-Id": one}).text for one in ids]
    assert got == [QUEUE if zlib.crc32(one.encode()) % 100 < 70 else other for one in ids]
    assert set(got) == {QUEUE, other}
    users = [f"user-{number}" for number in range(20)]
    named = [httpx.get(nginx.url + "/by", headers={"X-User": one}).text for one in users]
    assert named == [QUEUE if zlib.crc32(one.encode()) % 100 < 70 else other for one in users]
    assert nginx.line(ids[got.index(other)])["queue"] == other


def test_a_heartbeat_tells_how_many_messages_were_sent_to_which_queue(
    start_nginx: Start, rabbit: Rabbit, funcs: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend(FUNCATRON_ROUTING="direct", FUNCATRON_HEARTBEAT="0.2"))
    publish_routes(funcs, 1, route("/pets"))
    has_version(nginx, 1)
    for path in ("/pets/1", "/pets/2", "/other"):
        httpx.get(nginx.url + path)

    def told() -> bool:
        beats = [m.json for m in list(funcs.messages.queue) if m.json["action"] == "heartbeat"]
        return any(beat.get("published") == {QUEUE: 2, "funcatron.firehose": 1} for beat in beats)

    until(told, 5, "the counts")
