"""The link against a scripted STOMP server: what it says, how it takes splits, silence, stalls, errors and the end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest
from lua_support.nginx import Nginx
from lua_support.stomp_server import Connection, Frame, StompServer
from lua_support.waiting import until

Start = Callable[..., Nginx]
FIREHOSE = "/amq/queue/funcatron.firehose"


def environment(server: StompServer, **more: str) -> dict[str, str]:
    return {"RABBIT_HOST": "127.0.0.1", "RABBIT_PORT": str(server.port), "INSTANCEID": "fe"} | more


def answer(frame: Frame, body: str = "", status: int = 200, **more: Any) -> bytes:
    inner = {"status": status, "headers": [], "body": body, "body-base64-encoded": False}
    message = {"action": "answer", "request-id": frame.headers["correlation-id"], "answer": inner}
    return json.dumps(message | more).encode()


def reply(connection: Connection, frame: Frame, body: str = "", **more: Any) -> None:
    connection.message(answer(frame, body, **more), correlation_id=frame.headers["correlation-id"], action="answer")


def answering(connection: Connection, frame: Frame) -> bool:
    """A script that answers every request."""
    if frame.headers.get("destination") != FIREHOSE:
        return False
    reply(connection, frame, "hello")
    return True


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as executor:
        yield executor


def get(pool: ThreadPoolExecutor, nginx: Nginx, path: str = "/", **more: Any) -> Future[httpx.Response]:
    return pool.submit(httpx.get, nginx.url + path, timeout=20, **more)


def test_it_subscribes_to_its_own_queue_and_to_broadcasts_and_says_awake(
    start_nginx: Start, stomp_server: StompServer
) -> None:
    nginx = start_nginx(environment(stomp_server, RABBIT_USER="u", RABBIT_PWD="p", RABBIT_VHOST="/v"))
    connect = stomp_server.take("CONNECT")
    assert connect.headers["login"] == "u"
    assert connect.headers["host"] == "/v"
    assert connect.headers["heart-beat"] == "10000,10000"
    own = stomp_server.take("SUBSCRIBE", id="reply").headers
    assert own["destination"].startswith("/queue/funcatron.frontend.fe-0-")
    assert (own["exclusive"], own["auto-delete"], own["durable"], own["ack"]) == ("true", "true", "false", "auto")
    assert stomp_server.take("SUBSCRIBE", id="broadcast").headers["destination"] == "/exchange/funcatron.frontends"
    awake = stomp_server.take("SEND", action="awake")
    assert awake.headers["destination"] == "/amq/queue/for_tron"
    message = json.loads(awake.body)
    assert message["type"] == "frontend"
    assert message["reply-to"] == own["destination"].removeprefix("/queue/")
    assert message["instance-id"] == message["from"] == nginx.stats()["instance"]
    assert message["host_info"]["pid"] == nginx.workers()[0]
    assert message["version"] == 1
    assert len(message["msg-id"]) == 36
    assert abs(message["at"] / 1000 - time.time()) < 5


def test_it_sends_a_heartbeat_to_the_tron(start_nginx: Start, stomp_server: StompServer) -> None:
    start_nginx(environment(stomp_server, FUNCATRON_HEARTBEAT="0.2", TRON_QUEUE="other"))
    first = json.loads(stomp_server.take("SEND", action="heartbeat", destination="/amq/queue/other").body)
    second = json.loads(stomp_server.take("SEND", action="heartbeat").body)
    assert first["type"] == "frontend"
    assert first["msg-id"] != second["msg-id"]


def test_the_password_may_come_from_a_file(start_nginx: Start, stomp_server: StompServer, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    start_nginx(environment(stomp_server, RABBIT_PWD_FILE=str(secret)))
    assert stomp_server.take("CONNECT").headers["passcode"] == "s3cret"


def test_a_wrong_setting_keeps_nginx_from_starting_and_is_named(start_nginx: Start, stomp_server: StompServer) -> None:
    with pytest.raises(AssertionError, match="FUNCATRON_ROUTING is not one of the words"):
        start_nginx(environment(stomp_server, FUNCATRON_ROUTING="sideways"))


def test_answers_that_come_in_pieces_reach_their_requests(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server))
    futures = [get(pool, nginx, f"/{i}") for i in range(5)]
    frames = [stomp_server.take("SEND", destination=FIREHOSE) for _ in futures]
    data = b""
    for frame in reversed(frames):
        body = answer(frame, frame.headers["path"])
        head = f"MESSAGE\nsubscription:reply\ncorrelation-id:{frame.headers['correlation-id']}\n"
        data += head.encode() + b"content-length:%d\n\n%b\0\n" % (len(body), body)
    for start in range(0, len(data), 7):
        stomp_server.last.send(data[start : start + 7])
    assert [f.result().text for f in futures] == [f"/{i}" for i in range(5)]


def test_an_error_frame_is_logged_with_its_reason_and_the_link_comes_back(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server))
    waiting = get(pool, nginx)
    stomp_server.take("SEND", destination=FIREHOSE)
    stomp_server.last.send(b"ERROR\nmessage:not_found\ncontent-length:11\n\nno exchange\0")
    response = waiting.result()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-type"] == "application/problem+json"
    stomp_server.wait_connections(2)
    nginx.wait_ready()
    assert "ERROR: not_found: no exchange" in nginx.errors()
    queues = [c.subscriptions["reply"] for c in stomp_server.connections]
    assert queues[0] != queues[1]  # a new queue, for the broker may still hold the old one


def test_a_refused_subscription_is_tried_again(start_nginx: Start, stomp_server: StompServer) -> None:
    refusals = iter([True, True])

    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command == "SUBSCRIBE" and frame.headers["id"] == "broadcast" and next(refusals, False):
            connection.send(b"ERROR\nmessage:not_found\n\nno exchange 'funcatron.frontends'\0")
            return True
        return False

    stomp_server.script = script
    nginx = start_nginx(environment(stomp_server))
    assert len(stomp_server.connections) == 3
    assert "failed to subscribe: ERROR: not_found" in nginx.errors()


def test_without_a_broker_requests_are_refused_at_once(start_nginx: Start, stomp_server: StompServer) -> None:
    stomp_server.stop()
    nginx = start_nginx(environment(stomp_server), ready=False)
    began = time.monotonic()
    response = httpx.post(nginx.url + "/a", content=b"x" * 100000)
    assert time.monotonic() - began < 1
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["request-id"] == response.headers["x-request-id"]
    assert httpx.get(nginx.url + "/__ready").status_code == 503
    assert httpx.get(nginx.url + "/__health").status_code == 200


def test_a_broker_that_reads_nothing_makes_the_link_stall_and_an_echo_ends_it(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server, FUNCATRON_STALL="0.5"))
    stomp_server.echo = False
    waiting = get(pool, nginx)
    response = waiting.result()  # answered when the stall is noticed, not at the deadline
    assert response.status_code == 503
    assert not nginx.ready()
    assert nginx.stats()["link"]["state"] == "stalled"
    assert httpx.get(nginx.url + "/").status_code == 503
    stomp_server.last.message(b"", correlation_id="!ping")
    stomp_server.echo = True
    nginx.wait_ready()
    assert len(stomp_server.connections) == 1
    assert nginx.stats()["link"]["stalls"] == 1


def test_a_silent_broker_is_given_up_after_two_and_a_half_heartbeats(
    start_nginx: Start, stomp_server: StompServer
) -> None:
    stomp_server.heartbeat = "100,100"
    nginx = start_nginx(environment(stomp_server, FUNCATRON_STOMP_HEARTBEAT="0.1"))
    stomp_server.echo = False
    stomp_server.wait_connections(2, 5)
    until(lambda: "the broker is silent" in nginx.errors(), 5)


def test_it_sends_heartbeats_as_agreed(start_nginx: Start, stomp_server: StompServer) -> None:
    stomp_server.heartbeat = "0,200"
    start_nginx(environment(stomp_server, FUNCATRON_STOMP_HEARTBEAT="0.2"))
    until(lambda: stomp_server.last.beats > 10, 5, "heart-beats")


def test_it_reconnects_for_ever_with_growing_pauses(start_nginx: Start, stomp_server: StompServer) -> None:
    refused: list[float] = []

    def script(connection: Connection, frame: Frame) -> bool:
        if frame.command == "CONNECT" and len(refused) < 6:
            refused.append(time.monotonic())
            connection.close()
            return True
        return False

    stomp_server.script = script
    start_nginx(environment(stomp_server))
    pauses = [b - a for a, b in pairwise(refused)]
    assert all(0.04 < pause < 1.5 for pause in pauses), pauses
    assert pauses[-1] > pauses[0]


def test_late_and_unknown_answers_are_counted_and_dropped(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server, FUNCATRON_REQUEST_TIMEOUT="0.2"))
    response = get(pool, nginx, headers={"X-Request-Id": "mine"}).result()
    frame = stomp_server.take("SEND", destination=FIREHOSE)
    assert response.status_code == 504
    assert response.headers["content-type"] == "application/problem+json"
    reply(stomp_server.last, frame, "too late")
    stomp_server.last.message(answer(frame), correlation_id="nobody", action="answer")
    stomp_server.last.message(answer(frame), correlation_id="nobody")  # an action in the body alone
    until(lambda: nginx.stats()["ended"]["unknown"] == 2, 5)
    ended = nginx.stats()["ended"]
    assert (ended["late"], ended["timed_out"], ended["unknown"]) == (1, 1, 2)
    assert nginx.stats()["waiting"] == 0


def test_an_answer_without_correlation_id_is_known_by_its_request_id(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server))
    waiting = get(pool, nginx)
    frame = stomp_server.take("SEND", destination=FIREHOSE)
    stomp_server.last.message(answer(frame, "by the original's contract"))
    assert waiting.result().text == "by the original's contract"


def test_two_requests_with_one_id_get_their_own_answers(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server))
    one = get(pool, nginx, "/1", headers={"X-Request-Id": "same"})
    first = stomp_server.take("SEND", destination=FIREHOSE)
    two = get(pool, nginx, "/2", headers={"X-Request-Id": "same"})
    second = stomp_server.take("SEND", destination=FIREHOSE)
    assert first.headers["correlation-id"] == "same"
    assert second.headers["correlation-id"].startswith("same~")
    reply(stomp_server.last, second, "two")
    reply(stomp_server.last, first, "one")
    assert one.result().text == "one"
    assert two.result().text == "two"
    assert two.result().headers["x-request-id"] == second.headers["correlation-id"]


def test_a_late_answer_never_reaches_a_later_request_with_the_same_id(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server, FUNCATRON_REQUEST_TIMEOUT="0.5"))
    assert get(pool, nginx, headers={"X-Request-Id": "same"}).result().status_code == 504
    first = stomp_server.take("SEND", destination=FIREHOSE)
    again = get(pool, nginx, headers={"X-Request-Id": "same"})
    second = stomp_server.take("SEND", destination=FIREHOSE)
    reply(stomp_server.last, first, "of the first")
    reply(stomp_server.last, second, "of the second")
    assert again.result().text == "of the second"


def test_async_requests_are_accepted_only_with_the_brokers_receipt(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    held: list[tuple[Connection, Frame]] = []
    came = threading.Event()

    def script(connection: Connection, frame: Frame) -> bool:
        if frame.headers.get("destination") != FIREHOSE:
            return False
        held.append((connection, frame))
        came.set()
        return True

    stomp_server.script = script
    nginx = start_nginx(environment(stomp_server, FUNCATRON_REQUEST_TIMEOUT="1"))
    waiting = get(pool, nginx, headers={"Prefer": "respond-async"})
    assert came.wait(5)
    assert not waiting.done()
    connection, frame = held[0]
    assert frame.headers["persistent"] == "true"
    assert {"reply-to", "expiration", "deadline"}.isdisjoint(frame.headers)
    connection.send(f"RECEIPT\nreceipt-id:{frame.headers['receipt']}\n\n\0\n".encode())
    response = waiting.result()
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    assert response.json() == {"request-id": response.headers["x-request-id"]}
    assert get(pool, nginx, headers={"Prefer": "respond-async"}).result().status_code == 503  # no receipt comes


def test_a_quit_waits_for_what_is_under_way_then_says_died_and_disconnects(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    nginx = start_nginx(environment(stomp_server))
    waiting = get(pool, nginx)
    frame = stomp_server.take("SEND", destination=FIREHOSE)
    nginx.send_signal(signal.SIGQUIT)
    until(lambda: "gracefully shutting down" in nginx.errors(), 5)
    assert not waiting.done()
    reply(stomp_server.last, frame, "finished")
    assert waiting.result().text == "finished"
    assert json.loads(stomp_server.take("SEND", action="died").body)["type"] == "frontend"
    assert stomp_server.take("UNSUBSCRIBE").headers["id"] == "reply"
    stomp_server.take("DISCONNECT")
    assert nginx.stop(signal.SIGQUIT) == 0


def test_a_die_message_makes_the_worker_leave_and_another_one_start(
    start_nginx: Start, stomp_server: StompServer
) -> None:
    nginx = start_nginx(environment(stomp_server))
    worker, me = nginx.workers()[0], nginx.stats()["instance"]
    connection = stomp_server.last
    connection.message(json.dumps({"action": "die", "from": "tron", "instance-id": "someone else"}).encode())
    connection.message(json.dumps({"action": "die", "from": "tron"}).encode())
    connection.message(json.dumps({"action": "resend-awake", "from": "tron"}).encode())
    stomp_server.take("SEND", action="awake")
    stomp_server.take("SEND", action="awake")  # so the messages before it have been handled
    assert nginx.workers() == [worker]
    connection.message(json.dumps({"action": "die", "from": "tron", "instance-id": me}).encode())
    stomp_server.take("SEND", action="died")
    until(lambda: nginx.workers() and worker not in nginx.workers(), 10)
    nginx.wait_ready()


def test_what_cannot_be_handled_is_dead_lettered(start_nginx: Start, stomp_server: StompServer) -> None:
    nginx = start_nginx(environment(stomp_server))
    stomp_server.last.message(b'{"action":"no-such-action"}', content_type="application/json", action="no-such-action")
    letter = stomp_server.take("SEND", destination="/amq/queue/funcatron.dead-letter")
    assert letter.headers["reason"] == "unknown action"
    assert letter.headers["from"] == nginx.stats()["instance"]
    assert letter.headers["persistent"] == "true"
    assert letter.body == b'{"action":"no-such-action"}'
    stomp_server.last.message(b"\0\xff", content_type="application/json")
    assert stomp_server.take("SEND", reason="not a JSON object").body == b"\0\xff"
    stomp_server.last.message(b"{}", subscription="broadcast")
    until(lambda: nginx.stats()["messages-ignored"] == 3, 5)
    assert stomp_server.frames.empty()


def test_many_small_and_one_huge_message_all_arrive_whole(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    def script(connection: Connection, frame: Frame) -> bool:
        if frame.headers.get("destination") != FIREHOSE:
            return False
        connection.message(answer(frame, str(len(json.loads(frame.body)["body"]))),
                           correlation_id=frame.headers["correlation-id"])  # fmt: skip
        return True

    stomp_server.script = script
    nginx = start_nginx(environment(stomp_server))
    huge = pool.submit(httpx.post, nginx.url + "/huge", content=b"\xff" * 6_000_000, timeout=20)
    small = [get(pool, nginx, f"/{i}") for i in range(50)]
    assert huge.result().text == "8000000"
    assert {f.result().text for f in small} == {"0"}


def test_what_a_broken_connection_did_not_send_never_reaches_the_next_one(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    """The broker stops to read while much is under way, then goes; each message must come at most once."""
    stuck, go_on = threading.Event(), threading.Event()

    def script(connection: Connection, frame: Frame) -> bool:
        if frame.headers.get("destination") == FIREHOSE and connection is stomp_server.connections[0]:
            stuck.set()
            assert go_on.wait(20)
            connection.close()
            return True
        return answering(connection, frame)

    stomp_server.script = script
    nginx = start_nginx(environment(stomp_server, FUNCATRON_STALL="30"))
    first = get(pool, nginx, "/first")
    assert stuck.wait(5)
    huge = [pool.submit(httpx.post, nginx.url + "/huge", content=b"\xff" * 8_000_000, timeout=30) for _ in range(2)]
    small = [get(pool, nginx, f"/{i}") for i in range(5)]
    until(lambda: nginx.stats()["waiting"] == 8, 10)
    go_on.set()
    assert {f.result().status_code for f in [first, *huge, *small]} == {503}
    nginx.wait_ready()
    assert get(pool, nginx, "/after").result().text == "hello"
    paths = [f.headers["path"] for f in list(stomp_server.frames.queue) if f.headers.get("destination") == FIREHOSE]
    assert paths == ["/first", "/after"]


def test_a_table_of_an_earlier_connection_is_not_routed_by(
    start_nginx: Start, stomp_server: StompServer, pool: ThreadPoolExecutor
) -> None:
    """A queue that it names may have gone meanwhile, and nothing says so to who sends there."""
    func = "/amq/queue/func.pets.00000000"
    entry = {"host": None, "path": "/pets", "queue": "func.pets.00000000", "name": "pets", "sha": None}
    table = json.dumps({"action": "route", "from": "tron", "routes-version": 1, "routes": [entry]}).encode()
    nginx = start_nginx(environment(stomp_server, FUNCATRON_ROUTING="direct"))
    for number in range(2):
        stomp_server.take("SEND", action="awake")
        connection = stomp_server.last
        before = get(pool, nginx, "/pets")
        reply(connection, stomp_server.take("SEND", destination=FIREHOSE))
        connection.message(table)
        assert json.loads(stomp_server.take("SEND", action="heartbeat").body)["routes-version"] == 1
        after = get(pool, nginx, "/pets")
        reply(connection, stomp_server.take("SEND", destination=func))
        assert (before.result().status_code, after.result().status_code) == (200, 200)
        if number == 0:
            connection.close()
            until(lambda: nginx.stats()["link"]["connects"] == 2, 5, "a new connection")
