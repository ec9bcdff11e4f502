"""The small parts: deadlines, retries, crashes, outcomes, instances, log lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from typing import Any

import pytest

from funcatron.errors import SettingsError
from funcatron.runner import hostlog, retry
from funcatron.runner.crashes import LIMIT, WINDOW, Crashes
from funcatron.runner.deadlines import Deadlines
from funcatron.runner.deployment import Wishes
from funcatron.runner.hostlog import LogPump, host_text
from funcatron.runner.loading import instances, user_of
from funcatron.runner.outbox import _left
from funcatron.runner.outcome import Outcome, without_body
from funcatron.runner.retry import Step
from funcatron.spec import Instances
from tests.unit.runner.fakes import until


class Timed:
    """A call, as Deadlines sees it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.passed = 0

    def due(self, now: float) -> None:
        self.passed += 1


async def test_a_deadline_is_noticed_once_and_an_idle_watch_has_no_timer() -> None:
    watch: Any = Deadlines(asyncio.get_running_loop())
    soon, late, gone = Timed(time.time() + 0.01), Timed(time.time() + 60), Timed(time.time())
    for call in (soon, late, gone):
        watch.add(call)
    watch.discard(gone)
    await until(lambda: soon.passed)
    watch.discard(late)
    assert (soon.passed, late.passed, gone.passed, len(watch)) == (1, 0, 0, 0)
    await until(lambda: watch._timer is None)


@pytest.mark.parametrize(
    ("method", "wish", "waited_for", "may"),
    [
        ("GET", "idempotent", True, True),
        ("POST", "idempotent", True, False),
        ("PATCH", None, True, False),
        ("POST", "always", True, True),
        ("GET", "never", True, False),
        ("POST", "idempotent", False, True),
        ("POST", "never", False, False),
    ],
)
def test_what_may_run_twice(method: str, wish: str | None, waited_for: bool, may: bool) -> None:
    assert retry.repeatable(method, wish, waited_for=waited_for) is may


@pytest.mark.parametrize(
    ("attempt", "may_repeat", "waited_for", "step"),
    [
        (1, True, True, Step.AGAIN),
        (2, True, True, Step.REFUSE),
        (1, False, True, Step.REFUSE),
        (2, True, False, Step.AGAIN),
        (3, True, False, Step.REFUSE),
    ],
)
def test_a_redelivered_message_is_tried_a_bounded_number_of_times(
    attempt: int, may_repeat: bool, waited_for: bool, step: Step
) -> None:
    assert retry.on_redelivery(attempt=attempt, may_repeat=may_repeat, waited_for=waited_for) is step


def test_the_pause_before_an_attempt_grows_with_jitter_and_has_a_limit() -> None:
    assert 0.8 <= retry.delay(1) <= 1.2
    assert 3.2 <= retry.delay(2) <= 4.8
    assert retry.delay(20) <= retry.LONGEST_DELAY * 1.2


@pytest.mark.parametrize(("text", "attempt"), [("2", 2), ("0", 1), ("x", 1), ("-1", 1), ("²", 1)])
def test_a_wrong_attempt_counts_as_the_first(text: str, attempt: int) -> None:
    assert retry.attempt_of({"attempt": text}) == attempt


def test_the_first_death_costs_no_pause_and_many_are_a_crash_loop() -> None:
    crashes = Crashes()
    pauses = [crashes.record(float(n), "why") for n in range(LIMIT)]
    assert pauses[0] == 0.0
    assert pauses[1:] == sorted(pauses[1:])
    assert crashes.looping(5.0)
    assert not crashes.looping(5.0 + WINDOW * 2)
    crashes.recovered()
    assert not crashes.looping(5.0)
    assert crashes.total == LIMIT


def test_hosts_that_have_answered_are_replaced_at_once_but_their_deaths_are_reported() -> None:
    crashes = Crashes()
    for n in range(LIMIT * 2):
        assert crashes.record(float(n), "why", fruitful=True) == 0.0
    assert crashes.looping(LIMIT * 2.0)
    assert not crashes.hopeless(LIMIT * 2.0)


def test_hosts_that_never_answer_are_beyond_hope_until_the_next_start() -> None:
    crashes = Crashes()
    for _ in range(LIMIT):
        pause = crashes.record(1.0, "why")
    assert crashes.hopeless(1.0)
    assert not crashes.hopeless(1.0 + pause)
    crashes.record(2.0, "why", fruitful=True)
    assert not crashes.hopeless(2.0)


def test_deaths_far_apart_are_no_crash_loop() -> None:
    crashes = Crashes()
    for n in range(50):
        assert crashes.record(n * WINDOW * 1.1, "why") == 0.0
    assert not crashes.looping(49 * WINDOW * 1.1)


def test_a_func_s_own_content_length_stays_for_head() -> None:
    outcome = without_body(Outcome(200, [("content-length", "7")], b"1234"))
    assert outcome == Outcome(200, [("content-length", "7")], b"")


class Spec:
    """A spec's operations, as `instances` sees them."""

    def __init__(self, *said: Instances | None) -> None:
        self.operations = [type("Operation", (), {"instances": one})() for one in said]


def test_instances_are_the_widest_that_any_operation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    spec: Any = Spec(Instances(1, 2), None, Instances(0, 5))
    assert instances(spec, Wishes()) == (1, 5)
    nothing: Any = Spec(None)
    assert instances(nothing, Wishes()) == (0, 6)
    assert instances(nothing, Wishes(instances=(2, 3))) == (2, 3)
    assert instances(nothing, Wishes(instances=(9, None))) == (9, 9)


def test_the_settings_of_a_deployment_are_read() -> None:
    wishes = Wishes.read(
        {
            "timeout": 3,
            "concurrency": 2,
            "instances": {"min": 1},
            "validate-responses": 0.5,
            "memory": 0,
            "files": 64,
            "cpu": 10,
            "log-level": "debug",
            "queue-limit": 100,
        }
    )
    assert wishes == Wishes(3.0, 2, (1, None), 0.5, 0, 64, 10, "DEBUG", 100)
    assert Wishes.read({"validate-responses": True}).validate_responses == "on"
    assert Wishes.read({}) == Wishes()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout", 0),
        ("timeout", "5"),
        ("concurrency", 0),
        ("concurrency", True),
        ("instances", 3),
        ("instances", {"most": 3}),
        ("instances", {"min": 3, "max": 2}),
        ("validate-responses", 2),
        ("memory", "1 GB"),
        ("log-level", "loud"),
        ("queue-limit", 0),
        ("colour", "red"),
    ],
)
def test_a_wrong_setting_of_a_deployment_is_named(key: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=key):
        Wishes.read({key: value})


def test_each_bundle_has_a_user_of_its_own_where_the_runner_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    one, two = user_of("1" * 64, 200_000), user_of("2" * 64, 200_000)
    assert one is not None
    assert two is not None
    assert one.uid != two.uid
    assert one.uid >= 200_000
    assert user_of("1" * 64, 0) is None
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert user_of("1" * 64, 200_000) is None


def test_a_message_moved_late_lives_no_longer() -> None:
    assert _left(None, None) is None
    assert _left(None, 500) == 500
    assert _left(str(int(time.time() * 1000) + 100), 60_000) <= 100  # type: ignore[operator]
    assert _left("1", 60_000) == 1
    assert _left("soon", 500) == 500


def test_a_host_s_line_has_the_fields_of_every_line_first() -> None:
    frame = {
        "type": "log",
        "time": 0.25,
        "level": "WARNING",
        "logger": "app",
        "message": "hm",
        "request-id": "r1",
        "operation": "app.greet",
        "exception": "Traceback …",
        "stream": "stderr",
    }
    line = json.loads(host_text("ab", frame))
    assert list(line)[:7] == ["time", "level", "component", "request-id", "sha", "operation", "message"]
    assert line["time"] == "1970-01-01T00:00:00.250Z"
    assert (line["component"], line["level"], line["exception"]) == ("host", "warning", "Traceback …")


def test_lines_of_the_runner_and_of_hosts_go_through_one_thread() -> None:
    stream = io.StringIO()
    pump = LogPump("runner", stream)
    pump.start()
    record = logging.LogRecord("funcatron.x", logging.INFO, "", 0, "said %s", ("it",), None)
    record.__dict__["request-id"] = "r1"
    pump.emit(record)
    pump.host_line("ab", {"message": "from the host", "time": 1.0, "level": "info"})
    pump.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["said it", "from the host"]
    assert lines[0]["request-id"] == "r1"
    assert lines[0]["component"] == "runner"


def test_too_many_lines_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlog, "MOST", 10)
    stream = io.StringIO()
    pump = LogPump("runner", stream)
    for number in range(25):
        pump.host_line("ab", {"message": str(number)})
    pump.start()
    pump.close()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages == [*map(str, range(15, 25)), "15 log lines were dropped"]
