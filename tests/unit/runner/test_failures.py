"""Each row of the failure table that concerns the Runner, with played hosts."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from funcatron.errors import BadSpec, HostError, LoadError
from funcatron.hosts import Answer
from funcatron.runner import call as call_module
from funcatron.runner import crashes, pool, retry
from funcatron.runner.deployment import Deployment
from funcatron.runner.func import Func
from tests.unit.runner.fakes import QUEUE, SHA, World, json_answer, problem_of, until, world


def mute(here: World) -> None:
    """Let hosts take calls and not answer."""
    here.reply = None


async def second_runner(here: World) -> Func:
    """Another Runner on the same queue."""
    from funcatron.brokers.memory import MemoryBroker

    broker = MemoryBroker(here.hub, "runner-2")
    await broker.connect()
    other = Func(Deployment(SHA, QUEUE), here.make_tools("runner-2", broker))
    await other.serve()
    return other


# a Func over its time


async def test_a_call_over_its_time_is_a_504_and_is_cancelled(here: World) -> None:
    mute(here)
    answer = await here.ask("/pets/slow")
    assert answer.status == 504
    assert "time-out of 0.1 s" in problem_of(answer)["detail"]
    host = here.hosts[0]
    assert host.cancelled == [1]
    await here.quiet()
    assert here.func.stats.timed_out == 1
    assert here.func.pool is not None
    await until(lambda: not here.func.pool.seats[0].calls)
    assert host.ended is None


async def test_the_request_s_own_deadline_counts_when_it_is_sooner(here: World) -> None:
    mute(here)
    answer = await here.ask(left=0.1)
    assert "the request's deadline" in problem_of(answer)["detail"]


async def test_a_host_that_does_not_yield_is_replaced(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "GRACE", 0.05)
    mute(here)
    request = here.send("/pets/slow")
    host = await here.call_at()
    host.yields = False
    assert (await here.reply_to(request)).status == 504
    await until(lambda: host.ended == "killed")
    here.reply = lambda frame, body: json_answer("new")
    assert (await here.ask()).body == b'"new"'
    assert len(here.hosts) == 2
    assert len(here.replies[request]) == 1


async def test_the_others_in_a_host_that_does_not_yield_may_finish(here: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(call_module, "GRACE", 0.05)
    mute(here)
    innocent = here.send("/pets/pets", "POST", body={})
    host = await here.call_at()
    host.yields = False
    assert (await here.ask("/pets/slow")).status == 504
    assert here.func.pool is not None
    await until(lambda: here.func.pool.seats == [] or here.func.pool.seats[0].host is not host)
    assert host.ended is None
    host.answer(1, json_answer("late but fine", 201))
    assert (await here.reply_to(innocent)).status == 201
    await until(lambda: host.ended == "killed")


async def test_a_host_that_is_blocked_as_a_whole_is_killed_and_its_others_go_on(here: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(call_module, "GRACE", 0.05)
    monkeypatch.setattr(pool, "PONG", 0.05)
    mute(here)
    innocent = here.send()
    host = await here.call_at()
    host.yields = host.pings = False
    assert (await here.ask("/pets/slow")).status == 504
    await until(lambda: host.ended == "killed")
    second = await here.call_at(1)
    second.ok("elsewhere")
    assert (await here.reply_to(innocent)).body == b'"elsewhere"'


async def test_a_call_that_waits_for_a_host_in_vain_is_a_504(here: World, monkeypatch: Any) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(here.tools.capacity, "take", never)
    answer = await here.ask(left=0.2)
    assert answer.status == 504
    await here.quiet()


# a Func host dies


async def test_a_host_that_dies_costs_an_idempotent_call_nothing(here: World) -> None:
    mute(here)
    request = here.send()
    host = await here.call_at()
    here.reply = lambda frame, body: json_answer("second host")
    host.kill()
    answer = await here.reply_to(request)
    assert (answer.status, answer.body) == (200, b'"second host"')
    assert here.hosts[1].seen[0]["context"]["request-id"] == request
    assert here.func.stats.retried == 1


async def test_a_call_that_kills_two_hosts_is_a_502(here: World) -> None:
    mute(here)
    request = here.send()
    (await here.call_at(0)).kill()
    (await here.call_at(1)).kill()
    answer = await here.reply_to(request)
    assert "twice" in problem_of(answer)["detail"]
    assert answer.status == 502


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [("/pets/pets", "POST", 502), ("/pets/pets/1", "DELETE", 502), ("/pets/always", "POST", 200)],
)
async def test_a_host_that_dies_repeats_no_call_that_may_not_be(
    here: World, target: str, method: str, status: int
) -> None:
    mute(here)
    request = here.send(target, method, body={} if target == "/pets/pets" else None)
    host = await here.call_at()
    here.reply = lambda frame, body: json_answer()
    host.kill()
    assert (await here.reply_to(request)).status == status


async def test_calls_on_other_hosts_go_on_when_one_dies(here: World) -> None:
    here.largest = 2
    mute(here)
    first = here.send("/pets/pets", "POST", body={})
    await here.call_at(0)
    await here.func.pool.check()  # type: ignore[union-attr]
    second = here.send("/pets/pets", "POST", body={})
    await here.call_at(1)
    here.hosts[0].kill()
    assert (await here.reply_to(first)).status == 502
    here.hosts[1].ok("fine", 201)
    assert (await here.reply_to(second)).status == 201


async def test_a_crash_loop_is_told_by_502_log_and_report(here: World, caplog: Any) -> None:
    mute(here)
    for number in range(crashes.LIMIT):
        request = here.send("/pets/pets", "POST", body={})
        (await here.call_at(number)).kill()
        assert (await here.reply_to(request)).status == 502
    answer = await here.ask("/pets/pets", "POST", body={})
    assert answer.status == 502
    assert "again and again" in problem_of(answer)["detail"]
    assert ("Retry-After", "5") in answer.headers
    assert "crashing" in caplog.text
    assert here.func.report()["state"] == "crashing"
    assert here.func.report()["deaths"] == crashes.LIMIT
    assert len(here.hosts) == crashes.LIMIT


async def test_a_host_that_does_not_start_is_tried_again(here: World) -> None:
    here.start_errors = [HostError("no memory"), HostError("no memory")]
    assert (await here.ask()).status == 200


async def test_a_func_whose_hosts_never_start_answers_502(here: World) -> None:
    here.start_errors = [LoadError("it cannot be imported", ["app: no module x"])] * 50
    answer = await here.ask()
    assert answer.status == 502
    assert b"module x" not in answer.body


async def test_a_func_that_cannot_be_loaded_answers_503(here: World, caplog: Any) -> None:
    here.load_error = BadSpec("broken", ["paths: gone"])
    answer = await here.ask(method="PUT", target="/pets/pets")
    assert problem_of(answer)["status"] == 503
    assert "paths: gone" in caplog.text
    here.load_error = None
    assert (await here.ask()).status == 200


async def test_hosts_that_die_now_and_then_cost_no_other_call(here: World) -> None:
    for number in range(crashes.LIMIT * 2):
        here.reply = lambda frame, body: json_answer()
        assert (await here.ask()).status == 200
        host = await here.host(number)
        host.reply = None
        request = here.send("/pets/pets", "POST", body={})
        (await here.call_at(number)).kill()
        assert (await here.reply_to(request)).status == 502
    assert here.func.report()["state"] == "crashing"
    assert (await here.ask()).status == 200


# a Runner dies


async def test_an_idempotent_message_of_a_dead_runner_is_applied_by_another(here: World) -> None:
    mute(here)
    request = here.send()
    await here.call_at()
    here.reply = lambda frame, body: json_answer("by the other")
    other = await second_runner(here)
    here.broker.cut()
    answer = await here.reply_to(request)
    assert answer.body == b'"by the other"'
    await other.close(0.0)


async def test_a_message_that_kills_two_runners_is_a_502(here: World) -> None:
    mute(here)
    request = here.send(attempt="2")
    await here.call_at()
    await second_runner(here)
    here.broker.cut()
    answer = await here.reply_to(request)
    assert answer.status == 502
    assert "not known" in problem_of(answer)["detail"]


async def test_a_message_that_may_not_be_repeated_is_a_502_when_its_runner_dies(here: World) -> None:
    mute(here)
    request = here.send("/pets/pets", "POST", body={})
    await here.call_at()
    other = await second_runner(here)
    here.broker.cut()
    assert (await here.reply_to(request)).status == 502
    assert len([host for host in here.hosts if host.seen]) == 1
    await other.close(0.0)


async def test_a_message_nobody_waits_for_is_tried_again_when_its_runner_dies(here: World) -> None:
    mute(here)
    here.send("/pets/pets", "POST", body={}, waits=False)
    await here.call_at()
    here.reply = lambda frame, body: json_answer()
    other = await second_runner(here)
    here.broker.cut()
    await until(lambda: other.stats.discarded == 1)
    await here.quiet()
    await other.close(0.0)


async def test_a_message_that_comes_back_to_its_runner_is_not_applied_again(here: World) -> None:
    here.watch(here.func)
    mute(here)
    request = here.send("/pets/pets", "POST", body={})
    host = await here.call_at()
    here.broker.cut()
    await until(lambda: len(here.hub.queues[QUEUE].unacked) == 1)
    host.ok("once", 201)
    assert (await here.reply_to(request)).status == 201
    await here.quiet()
    assert len(host.seen) == 1
    assert len(here.replies[request]) == 1


async def test_an_answer_made_while_the_broker_was_away_goes_out_when_the_message_comes_back(here: World) -> None:
    here.watch(here.func)
    mute(here)
    request = here.send("/pets/pets", "POST", body={})
    host = await here.call_at()
    here.hub.up.clear()
    here.broker.cut()
    host.ok("meanwhile", 201)
    await until(lambda: not host.calls)
    assert request not in here.replies
    here.hub.up.set()
    assert (await here.reply_to(request)).body == b'"meanwhile"'
    await here.quiet()
    assert len(host.seen) == 1


# nobody waits for it


async def test_a_message_without_reply_that_fails_is_retried_then_dead_lettered(here: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.01)
    here.reply = lambda frame, body: Answer(500, failed=True)
    request = here.send("/pets/pets", "POST", body={}, waits=False)
    dead = await until(lambda: here.dead)
    headers = dead[0].properties.headers
    assert headers["reason"] == "failed"
    assert headers["request-id"] == request
    assert headers["sha"] == SHA
    assert headers["attempt"] == str(retry.ATTEMPTS)
    assert headers["operation"] == "app.add"
    assert len(here.hosts[0].seen) == retry.ATTEMPTS
    assert here.func.stats.retried == retry.ATTEMPTS - 1
    await here.quiet()


async def test_a_message_without_reply_succeeds_at_its_second_attempt(here: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.01)
    answers = [Answer(503, [], b""), json_answer()]
    here.reply = lambda frame, body: answers.pop(0)
    here.send("/pets/pets", "POST", body={}, waits=False)
    await until(lambda: here.func.stats.discarded == 1)
    assert here.dead == []


async def test_messages_that_wait_for_their_next_attempt_hold_up_no_other(here: World) -> None:
    here.slots = 1
    here.reply = lambda frame, body: (
        Answer(500, failed=True) if frame["operation"] == "app.add" else json_answer("prompt")
    )
    for _ in range(5):
        here.send("/pets/pets", "POST", body={}, waits=False)
    await until(lambda: here.func.stats.retried == 5)
    began = time.monotonic()
    assert (await here.ask()).status == 200
    assert time.monotonic() - began < 0.5
    await until(lambda: len(here.func._held) == 5)


# overload


async def test_a_func_takes_no_more_than_its_slots(here: World) -> None:
    mute(here)
    requests = [here.send() for _ in range(20)]
    host = await here.call_at(0, 4)
    await asyncio.sleep(0)
    assert len(here.hub.queues[QUEUE].unacked) == 4
    for _ in range(20):
        await until(lambda: host.calls)
        host.ok()
        await asyncio.sleep(0)
    for request in requests:
        assert (await here.reply_to(request)).status == 200
    assert len(here.hosts) == 1


# the end


async def test_a_runner_that_ends_finishes_calls_and_gives_back_what_it_has_not_begun(here: World) -> None:
    mute(here)
    requests = [here.send() for _ in range(6)]
    host = await here.call_at(0, 4)
    closing = asyncio.create_task(here.func.close(grace=5.0))
    for _ in range(4):
        host.ok()
    await closing
    await here.tools.outbox.settle()
    for request in requests[:4]:
        assert (await here.reply_to(request)).status == 200
    queue = here.hub.queues[QUEUE]
    assert len(queue.ready) == 2
    assert not queue.unacked
    assert host.ended == "stopped"


async def test_a_runner_that_ends_too_soon_says_so_to_who_cannot_be_retried(here: World) -> None:
    mute(here)
    post = here.send("/pets/pets", "POST", body={})
    here.send()
    await here.call_at(0, 2)
    await here.func.close(grace=0.0)
    await here.tools.outbox.settle()
    assert (await here.reply_to(post)).status == 502
    queue = here.hub.queues[QUEUE]
    assert [stored.message.headers["attempt"] for stored in queue.ready] == ["2"]


async def test_a_drain_empties_the_queue_first(here: World) -> None:
    mute(here)
    requests = [here.send() for _ in range(8)]
    host = await here.call_at(0, 4)
    drain = asyncio.create_task(here.func.drain())
    for _ in range(8):
        await until(lambda: host.calls)
        host.ok()
        await asyncio.sleep(0)
    await drain
    assert here.func.state == "retired"
    assert not here.hub.queues[QUEUE].takers
    for request in requests:
        assert (await here.reply_to(request)).status == 200


async def test_messages_that_come_while_it_stops_taking_go_back_as_they_were(here: World) -> None:
    mute(here)
    here.send()
    await here.call_at()
    consumer = here.func._consumer
    assert consumer is not None
    stop = consumer.cancel

    async def cancel() -> None:
        late.append(here.send("/pets/pets", "POST", body={}))
        await until(lambda: here.func._backlog)
        await stop()

    late: list[str] = []
    consumer.cancel = cancel  # type: ignore[method-assign]
    await here.func.close(grace=0.0)
    await here.tools.outbox.settle()
    stored = next(one for one in here.hub.queues[QUEUE].ready if one.message.correlation_id == late[0])
    assert here.func.stats.requeued == 1
    assert not stored.redelivered
    assert "attempt" not in stored.message.headers


async def test_a_held_message_that_comes_back_has_lost_no_attempt(here: World, monkeypatch: Any) -> None:
    here.watch(here.func)
    here.reply = lambda frame, body: Answer(500, failed=True)
    here.send("/pets/pets", "POST", body={}, waits=False)
    await until(lambda: here.func._held)
    here.hosts[0].reply = lambda frame, body: json_answer()
    here.broker.cut()
    await until(lambda: here.func.stats.discarded == 1)
    assert here.func.stats.dead_lettered == 0
    assert here.hosts[0].seen[-1]["operation"] == "app.add"
    assert len(here.hosts[0].seen) == 2


async def test_a_deployment_may_ask_for_checked_answers(tmp_path: Any, monkeypatch: Any) -> None:
    async with world(tmp_path, monkeypatch) as here:
        here.validation = "strict"
        await here.func.serve()
        here.reply = lambda frame, body: json_answer(1)
        assert (await here.ask()).status == 500
