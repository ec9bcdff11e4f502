"""The hot path: what a caller gets for each kind of message, with real specs and played hosts."""

from __future__ import annotations

import json
from typing import Any

from funcatron.brokers.base import Outgoing
from funcatron.errors import BrokerAway, BrokerError
from funcatron.hosts import Answer
from funcatron.runner import outcome
from funcatron.runner.bodies import Bodies
from tests.unit.runner.fakes import World, json_answer, problem_of, until

JSON = {"content-type": "application/json"}


async def test_a_request_is_bound_called_answered_and_acked(here: World) -> None:
    answer = await here.ask("/pets/greet?name=Ada&times=2", headers={"accept": "application/json"})
    assert (answer.status, json.loads(answer.body)) == (200, "ok")
    assert (answer.sha, answer.operation) == ("ab" * 32, "app.greet")
    await here.quiet()
    frame = here.hosts[0].seen[0]
    assert frame["params"] == {"name": "Ada", "times": 2}
    assert frame["operation"] == "app.greet"
    context = frame["context"]
    assert context["request-id"] == answer.request_id
    assert context["route"] == "/greet"
    assert context["query"] == "name=Ada&times=2"
    assert context["host"] == "a.b"
    assert here.func.stats.answered[2] == here.func.stats.received == 1


async def test_the_raw_body_goes_to_the_host(here: World) -> None:
    await here.ask("/pets/pets", "POST", body={"name": "Rex"})
    host = here.hosts[0]
    assert host.seen[0]["body-kind"] == "json"
    assert host.seen[0]["body-name"] == "body"


async def test_an_unknown_path_is_a_404_without_a_host(here: World) -> None:
    answer = await here.ask("/pets/nothing")
    assert problem_of(answer)["status"] == 404
    assert here.hosts == []
    await here.quiet()


async def test_a_wrong_method_is_a_405_with_allow(here: World) -> None:
    answer = await here.ask("/pets/greet", "PATCH")
    assert answer.status == 405
    assert dict(answer.headers)["Allow"] == "GET, HEAD, OPTIONS"
    problem_of(answer)


async def test_options_is_answered_without_a_host(here: World) -> None:
    answer = await here.ask("/pets/pets", "OPTIONS")
    assert answer.status == 204
    assert set(dict(answer.headers)["Allow"].split(", ")) == {"POST", "PUT", "OPTIONS"}
    assert here.hosts == []


async def test_a_head_answer_has_the_length_and_no_body(here: World) -> None:
    answer = await here.ask(method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert ("Content-Length", "4") in answer.headers
    assert here.hosts[0].seen[0]["context"]["method"] == "HEAD"


async def test_all_faults_of_the_arguments_are_in_one_400(here: World) -> None:
    answer = await here.ask("/pets/greet?times=x")
    assert answer.status == 400
    assert {fault["where"] for fault in problem_of(answer)["errors"]} == {"query.name", "query.times"}
    assert here.hosts == []


async def test_who_is_not_authorized_does_not_learn_what_is_wrong_with_the_arguments(here: World) -> None:
    here.reply = lambda frame, body: Answer(401, [["Content-Type", "application/problem+json"]], b"{}")
    answer = await here.ask("/pets/secret?n=x", headers={"x-key": "no"})
    assert answer.status == 401
    assert here.hosts[0].seen[0]["type"] == "authorize"
    assert here.hosts[0].seen[0]["security"][0][0]["args"] == ["no"]


async def test_who_is_authorized_learns_what_is_wrong_with_the_arguments(here: World) -> None:
    here.reply = lambda frame, body: Answer(0, authorized=True)
    answer = await here.ask("/pets/secret?n=x", headers={"x-key": "yes"})
    assert answer.status == 400
    assert problem_of(answer)["errors"][0]["where"] == "query.n"


async def test_a_func_that_raises_is_a_500_that_says_nothing_of_it(here: World) -> None:
    here.reply = lambda frame, body: Answer(500, [], b"", failed=True, error={"kind": "exception", "detail": "secret"})
    answer = await here.ask()
    assert problem_of(answer)["status"] == 500
    assert b"secret" not in answer.body


async def test_a_status_that_is_none_is_a_500(here: World) -> None:
    here.reply = lambda frame, body: Answer(99, [], b"")
    assert (await here.ask()).status == 500


async def test_a_body_of_a_status_without_one_is_dropped(here: World) -> None:
    here.reply = lambda frame, body: Answer(304, [["ETag", "x"]], b"body")
    assert (await here.ask()).body == b""


async def test_a_binary_answer_comes_as_it_is(here: World) -> None:
    data = bytes(range(256)) * 300
    here.reply = lambda frame, body: Answer(200, [["Content-Type", "application/octet-stream"]], bytearray(data))
    assert (await here.ask()).body == data


async def test_a_text_answer_in_a_bytearray_comes_as_it_is(here: World) -> None:
    here.reply = lambda frame, body: Answer(200, [["Content-Type", "text/plain"]], bytearray("grüß".encode()))
    assert (await here.ask()).body.decode() == "grüß"


async def test_an_answer_over_the_limit_is_a_500_that_names_it(here: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(outcome, "LARGEST_BODY", 1000)
    here.reply = lambda frame, body: Answer(200, [], b"x" * 1001)
    answer = await here.ask()
    assert answer.status == 500
    assert "1000" in problem_of(answer)["detail"]


async def test_repeated_headers_stay_repeated(here: World) -> None:
    here.reply = lambda frame, body: Answer(200, [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]], b"")
    assert (await here.ask()).headers == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]


async def test_a_strict_operation_turns_a_wrong_answer_into_a_500(here: World, caplog: Any) -> None:
    answer = await here.ask("/pets/strict")
    assert answer.status == 500
    assert problem_of(answer)["detail"].startswith("Response body does not conform to specification.")
    assert "does not follow the spec" in caplog.text
    here.hosts[0].reply = lambda frame, body: json_answer(1)
    assert (await here.ask("/pets/strict")).status == 200


async def test_a_checked_operation_logs_a_wrong_answer_with_its_request(here: World, caplog: Any) -> None:
    answer = await here.ask("/pets/checked")
    assert answer.status == 200
    record = next(r for r in caplog.records if "does not follow the spec" in r.message)
    assert record.__dict__["request-id"] == answer.request_id
    assert record.__dict__["sha"] == "ab" * 32
    assert record.__dict__["faults"]


async def test_a_message_whose_deadline_has_passed_is_dropped_before_the_func(here: World) -> None:
    here.send(left=-1.0)
    await here.quiet()
    assert (here.func.stats.discarded, here.hosts) == (1, here.hosts)
    assert all(not host.seen for host in here.hosts)


async def test_a_message_that_cannot_be_decoded_is_dead_lettered_and_answered(here: World) -> None:
    here.raw(b"\xff\x00", reply_to="replies", correlation_id="bad", headers={"x": "y"})
    answer = await here.reply_to("bad")
    assert problem_of(answer)["status"] == 400
    dead = await until(lambda: here.dead)
    assert dead[0].body == b"\xff\x00"
    headers = dead[0].properties.headers
    assert headers["reason"].startswith("undecodable")
    assert (headers["x"], headers["from"]) == ("y", "runner-1")
    await here.quiet()


async def test_a_message_without_reply_is_applied_and_its_result_discarded(here: World) -> None:
    here.send(waits=False)
    await until(lambda: here.func.stats.discarded == 1)
    await here.quiet()
    assert here.replies == {}
    assert len(here.hosts[0].seen) == 1


async def test_a_wrong_message_without_reply_is_dead_lettered_at_once(here: World) -> None:
    here.send("/pets/greet", waits=False)
    dead = await until(lambda: here.dead)
    assert dead[0].properties.headers["reason"] == "status-400"
    assert dead[0].properties.persistent


async def test_an_answer_that_can_go_nowhere_ends_in_the_dead_letter_queue(here: World, monkeypatch: Any) -> None:
    def refuse(message: Outgoing) -> None:
        raise BrokerError("a key over 255 bytes")

    monkeypatch.setattr(here.func.settler, "_publish", refuse)
    here.send()
    dead = await until(lambda: here.dead)
    assert dead[0].properties.headers["reason"] == "cannot be answered: a key over 255 bytes"
    await here.quiet()
    assert here.func.stats.answered[2] == 0


async def test_an_answer_that_a_busy_broker_does_not_take_goes_out_later_without_another_call(
    here: World, monkeypatch: Any
) -> None:
    publish = here.func.settler._publish
    refused: list[Outgoing] = []

    def refuse(message: Outgoing) -> None:
        refused.append(message)
        monkeypatch.setattr(here.func.settler, "_publish", publish)
        raise BrokerAway("67108865 bytes wait for the broker, which does not read")

    monkeypatch.setattr(here.func.settler, "_publish", refuse)
    here.reply = lambda frame, body: json_answer("once", 201)
    answer = await here.ask("/pets/pets", "POST", body={})
    assert (answer.status, len(refused)) == (201, 1)
    await here.quiet()
    assert len(here.hosts[0].seen) == 1


async def test_headers_that_are_no_pairs_are_a_500(here: World) -> None:
    here.reply = lambda frame, body: Answer(200, [["alone"]], b"x")
    assert (await here.ask()).status == 500
    await here.quiet()


async def test_a_blunder_of_the_runner_itself_is_a_500(here: World, monkeypatch: Any, caplog: Any) -> None:
    await here.ask()
    monkeypatch.setattr(here.api.operations[0].__class__, "credentials", lambda self, request: 1 / 0)
    answer = await here.ask()
    assert problem_of(answer)["status"] == 500
    assert "ZeroDivisionError" in caplog.text


async def test_a_body_in_the_shared_folder_is_fetched_and_a_large_answer_is_put_there(here: World) -> None:
    """Both travel by name; a front end that shares no folder gets the answer in its message."""
    folder = here.tmp_path / "bodies"
    for name in ("requests", "answers"):
        (folder / name).mkdir(parents=True)
    (folder / "id").write_text("shared-1")
    (folder / "requests" / "7").write_bytes(b'{"name": "Rex"}')
    here.func.settler.bodies = Bodies(folder, 1000)
    large = json.dumps("x" * 2000).encode()
    here.reply = lambda _frame, _body: Answer(200, [["content-type", "application/json"]], large)
    answer = await here.ask("/pets/pets", "POST", headers=JSON, more={"bodies": "shared-1", "body-file": "requests/7"})
    assert (answer.status, answer.body) == (200, b"")
    (kept,) = (folder / "answers").iterdir()
    assert kept.read_bytes() == large
    assert here.hosts[0].seen[0]["body-kind"] == "json"
    inline = await here.ask("/pets/pets", "POST", body={"name": "Rex"}, headers=JSON, more={"bodies": "shared-2"})
    assert inline.body == large


async def test_a_body_that_is_not_shared_is_a_502_and_one_whose_request_has_gone_is_dropped(here: World) -> None:
    answer = await here.ask("/pets/pets", "POST", headers=JSON, more={"bodies": "elsewhere", "body-file": "requests/7"})
    assert problem_of(answer)["status"] == 502
    folder = here.tmp_path / "bodies"
    (folder / "requests").mkdir(parents=True)
    (folder / "id").write_text("shared-1")
    here.func.settler.bodies = Bodies(folder, 1000)
    before = here.func.stats.discarded
    here.send("/pets/pets", "POST", headers=JSON, more={"bodies": "shared-1", "body-file": "requests/8"})
    await until(lambda: here.func.stats.discarded == before + 1)
    assert not here.hosts
