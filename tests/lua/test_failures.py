"""Failures on a real RabbitMQ: gone, back, alarmed, topology missing, TLS, workers killed, the end under load."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from lua_support.consumer import Consumer, answer
from lua_support.nginx import Nginx
from lua_support.rabbit import Rabbit
from lua_support.waiting import until

Start = Callable[..., Nginx]


@pytest.fixture
def takes(rabbit: Rabbit) -> Iterator[Consumer]:
    """A consumer of this test's own, for tests that break its connection."""
    taker = Consumer(rabbit).start()
    yield taker
    taker.stop()


def test_an_alarm_of_the_broker_becomes_503_at_once_and_ends(
    start_nginx: Start, rabbit: Rabbit, takes: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend())
    assert httpx.get(nginx.url).status_code == 200
    takes.reply = lambda message: None
    with ThreadPoolExecutor(3) as pool:
        waiting = pool.submit(httpx.get, nginx.url, timeout=30)
        takes.take()
        takes.take()
        rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1")
        try:
            response = waiting.result(20)
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert not nginx.ready()
            began = time.monotonic()
            assert httpx.post(nginx.url, content=b"x").status_code == 503
            assert time.monotonic() - began < 1
        finally:
            rabbit.ctl("set_vm_memory_high_watermark", "0.4")
        takes.reply = lambda message: answer(200, b"again")
        nginx.wait_ready(10)
        assert httpx.get(nginx.url, timeout=10).text == "again"
        assert nginx.stats()["link"]["connects"] == 1


def test_a_link_that_starts_during_an_alarm_is_not_ready_before_its_end(start_nginx: Start, rabbit: Rabbit) -> None:
    rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        nginx = start_nginx(rabbit.frontend(), ready=False)
        until(lambda: nginx.stats()["link"]["connects"] == 1, 10)
        until(lambda: nginx.stats()["link"]["state"] == "stalled", 10)
        assert httpx.get(nginx.url).status_code == 503
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "0.4")
    nginx.wait_ready(10)


def test_a_broker_that_is_killed_answers_503_at_once_and_comes_back_by_itself(
    start_nginx: Start, rabbit: Rabbit
) -> None:
    takes = Consumer(rabbit).start()
    takes.reply = lambda message: None
    nginx = start_nginx(rabbit.frontend())
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(httpx.get, nginx.url, timeout=60) for _ in range(20)]
        for _ in waiting:
            takes.take()
        began = time.monotonic()
        rabbit.stop()
        statuses = [future.result().status_code for future in waiting]
        assert statuses == [503] * 20
        assert time.monotonic() - began < 5
        assert httpx.get(nginx.url).status_code == 503
        rabbit.start()
        back = time.monotonic()
        nginx.wait_ready(5)
        assert time.monotonic() - back < 3
    takes.thread.join(10)
    again = Consumer(rabbit).start()
    assert httpx.get(nginx.url, timeout=10).status_code == 200
    again.stop()
    connection = rabbit.connect()
    connection.close()


def test_a_frozen_broker_is_a_stall_not_a_hang(start_nginx: Start, rabbit: Rabbit, takes: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend())
    assert rabbit.process
    group = os.getpgid(rabbit.process.pid)
    with ThreadPoolExecutor(1) as pool:
        takes.reply = lambda message: None
        waiting = pool.submit(httpx.get, nginx.url, timeout=30)
        takes.take()
        os.killpg(group, signal.SIGSTOP)
        try:
            assert waiting.result(10).status_code == 503
            assert httpx.get(nginx.url).status_code == 503
        finally:
            os.killpg(group, signal.SIGCONT)
        nginx.wait_ready(10)


def test_missing_exchanges_are_waited_for(start_nginx: Start, rabbit: Rabbit) -> None:
    rabbit.ctl("add_vhost", "fresh")
    rabbit.ctl("set_permissions", "-p", "fresh", "guest", ".*", ".*", ".*")
    try:
        nginx = start_nginx(rabbit.frontend(RABBIT_VHOST="fresh"), ready=False)
        until(lambda: "no exchange 'funcatron.frontends'" in nginx.errors(), 10)
        assert httpx.get(nginx.url).status_code == 503
        connection = rabbit.connect("fresh")
        rabbit.declare(connection.channel())
        connection.close()
        nginx.wait_ready(5)
    finally:
        rabbit.ctl("delete_vhost", "fresh")


def test_a_wrong_password_is_logged_with_the_brokers_reason(start_nginx: Start, rabbit: Rabbit) -> None:
    nginx = start_nginx(rabbit.frontend(RABBIT_PWD="not the one"), ready=False)
    until(lambda: "Access refused for user 'guest'" in nginx.errors(), 10)
    assert "not the one" not in nginx.errors()


def test_tls_with_the_right_authority_works_and_with_another_not(start_nginx: Start, rabbit: Rabbit) -> None:
    env = rabbit.frontend(RABBIT_TLS="on", RABBIT_PORT=str(rabbit.tls_port), RABBIT_TLS_NAME="localhost")
    trust = f"lua_ssl_trusted_certificate {rabbit.cert}; lua_ssl_verify_depth 3;"
    start_nginx(env, TLS=trust)
    untrusting = start_nginx(env, ready=False, TLS="")
    until(lambda: "TLS handshake" in untrusting.errors(), 10)
    assert not untrusting.ready()
    wrong_name = start_nginx(env | {"RABBIT_TLS_NAME": "other.example"}, ready=False, TLS=trust)
    until(lambda: "TLS handshake" in wrong_name.errors(), 10)
    start_nginx(env | {"RABBIT_TLS_VERIFY": "off"}, TLS="")


def queues(rabbit: Rabbit) -> list[str]:
    return [q for q in rabbit.ctl("list_queues", "name").split() if q.startswith(("funcatron.frontend.", "stomp-"))]


def test_a_killed_worker_leaves_no_queue_and_another_takes_over(
    start_nginx: Start, rabbit: Rabbit, takes: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend(INSTANCEID="killed"))
    worker = nginx.workers()[0]
    os.kill(worker, signal.SIGKILL)
    until(lambda: nginx.workers() and worker not in nginx.workers(), 10)
    until(nginx.ready_or_refused, 10)
    assert httpx.get(nginx.url, timeout=10).status_code == 200
    until(lambda: sum("killed" in q for q in queues(rabbit)) == 1, 10)


def test_a_quit_under_load_loses_no_request_and_leaves_no_queue(
    start_nginx: Start, rabbit: Rabbit, takes: Consumer
) -> None:
    takes.reply = lambda message: answer(200, b"ok")
    nginx = start_nginx(rabbit.frontend(INSTANCEID="quits"))
    stop, outcomes = threading.Event(), []

    def load() -> None:
        while not stop.is_set():
            try:
                outcomes.append(str(httpx.get(nginx.url, timeout=20).status_code))
            except httpx.ConnectError:
                outcomes.append("refused")
                return

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: len(outcomes) > 50, 10)
    assert nginx.stop(signal.SIGQUIT) == 0
    stop.set()
    for thread in threads:
        thread.join(10)
    assert set(outcomes) <= {"200", "refused"}
    until(lambda: not any("quits" in q for q in queues(rabbit)), 10)


def test_a_reload_changes_workers_without_losing_a_request(start_nginx: Start, rabbit: Rabbit, takes: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend())
    old = nginx.workers()
    takes.reply = lambda message: None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, nginx.url, timeout=30)
        message = takes.take()
        nginx.send_signal(signal.SIGHUP)
        until(lambda: len(nginx.workers()) == 2, 10)
        takes.later(lambda: takes.send_answer(message, answer(200, b"by the old one")))
        assert waiting.result().text == "by the old one"
    until(lambda: len(nginx.workers()) == 1 and nginx.workers() != old, 10)
    nginx.wait_ready()


def test_secrets_appear_nowhere(start_nginx: Start, rabbit: Rabbit, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("guest-is-not-so-secret")
    nginx = start_nginx(rabbit.frontend(RABBIT_PWD_FILE=str(secret)), ready=False)
    until(lambda: "Access refused" in nginx.errors(), 10)
    environ = Path(f"/proc/{nginx.workers()[0]}/environ").read_bytes()
    assert b"guest-is-not-so-secret" not in environ
    assert "guest-is-not-so-secret" not in nginx.errors()
    assert "guest-is-not-so-secret" not in nginx.config.read_text()
