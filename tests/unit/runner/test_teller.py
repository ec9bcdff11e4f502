"""A Runner's `stats` messages: totals, what has changed, and promises that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from funcatron.message import control as messages
from funcatron.message import validate
from funcatron.runner import control as control_module
from funcatron.runner import machine
from funcatron.runner.account import Usage
from funcatron.runner.fleet import Funcs
from funcatron.runner.func import Func
from funcatron.runner.starts import Starts
from funcatron.runner.teller import TELL, Teller
from tests.unit.runner.fakes import SHA, World, until, world
from tests.unit.runner.test_control import Talk

BEAT = 10.0


class Told:
    """A Teller whose time the test gives."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.funcs = Funcs(here.tools)
        self.funcs.serving[here.func.deployment.queue] = here.func
        self.now = here.func.stats.began + 1000.0
        self.teller = Teller("r1", self.funcs, beat=BEAT, hosts_limit=8, clock=lambda: self.now)

    async def second(self) -> dict[str, Any] | None:
        """Let a second pass; returns what is told."""
        self.now += TELL
        message = await self.teller.message()
        if message is not None:
            validate("stats", message)
        return message

    async def entries(self) -> list[dict[str, Any]]:
        """Let a second pass; returns what is told of the Funcs."""
        message = await self.second()
        assert message is not None
        found: list[dict[str, Any]] = message["funcs"]
        return found


@pytest_asyncio.fixture
async def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Told]:
    async with world(tmp_path, monkeypatch) as here:
        await here.func.serve()
        yield Told(here)


async def test_the_first_message_says_everything_and_of_an_unused_func_nothing(told: Told) -> None:
    message = await told.second()
    assert message is not None
    assert (message["full"], message["seq"], message["next"], message["funcs"]) == (True, 0, BEAT, [])
    assert message["machine"]["hosts"] == 0
    assert message["machine"]["hosts-limit"] == 8
    assert message["machine"]["cores"] > 0
    assert message["machine"]["memory-bytes"] > message["machine"]["rss-bytes"] > 0


async def test_a_func_that_did_something_has_an_entry_with_totals(told: Told) -> None:
    await told.here.ask()
    await told.here.ask("/pets/nowhere")
    (entry,) = await told.entries()
    assert (entry["life"], entry["sha"], entry["state"]) == (1, SHA, "serving")
    assert (entry["arrivals"], entry["answered"], entry["errors"]) == (2, {"2xx": 1, "4xx": 1}, {"status-404": 1})
    assert (entry["hosts"], entry["starts"], entry["slots"]) == ({"running": 1}, 1, 4)
    assert (entry["in-flight"], entry["rss-bytes"]) == (0, 1000)
    assert entry["age"] == pytest.approx(1000.0 + TELL, abs=0.01)
    assert (entry["wait"]["count"], entry["service"]["count"]) == (1, 1)
    assert sum(entry["service"]["counts"]) == 1


async def test_only_what_has_changed_is_told_again(told: Told) -> None:
    await told.here.ask()
    await told.second()
    told.here.func.stats.services += [30.0]
    await told.here.ask("/pets/nowhere")
    (entry,) = await told.entries()
    assert entry["arrivals"] == 2
    assert entry["service"]["counts"] == [1], "the bin of the first call is as it was"
    assert "wait" not in entry


async def test_a_promise_is_kept_and_then_it_is_silent_until_the_beat(told: Told) -> None:
    await told.here.ask()
    first = await told.second()
    assert first is not None
    assert first["next"] == TELL
    then = await told.second()
    assert then is not None, "it was promised"
    assert (then["funcs"], then["next"], then["seq"]) == ([], BEAT, 1)
    for _ in range(int(BEAT) - 1):
        assert await told.second() is None
    beat = await told.second()
    assert beat is not None
    assert (beat["funcs"], beat["next"], beat["full"]) == ([], BEAT, False)


async def test_what_idle_hosts_use_is_told_with_the_beat(told: Told) -> None:
    await told.here.ask()
    await told.second()
    told.here.hosts[0].busy = 0.5
    assert await told.entries() == []
    for _ in range(int(BEAT) - 2):
        await told.second()
    (entry,) = [each for _ in range(3) if (message := await told.second()) for each in message["funcs"]]
    assert entry["cpu-seconds"] == 0.5


async def test_somebody_who_may_have_missed_something_is_told_everything(told: Told) -> None:
    await told.here.ask()
    (before,) = await told.entries()
    await told.second()
    told.teller.start_over()
    message = await told.second()
    assert message is not None
    (entry,) = message["funcs"]
    assert message["full"]
    assert {name: entry[name] for name in ("arrivals", "wait", "service")} == {
        name: before[name] for name in ("arrivals", "wait", "service")
    }


async def test_messages_in_flight_are_told_by_where_they_are(told: Told) -> None:
    told.here.reply = lambda *_: None
    for _ in range(3):
        told.here.send()
    host = await told.here.call_at(count=3)
    (entry,) = await told.entries()
    assert (entry["in-flight"], entry["at-hosts"]) == (3, 3)
    assert "waiting" not in entry
    for call in told.here.func.pool.live():  # type: ignore[union-attr]
        call.started -= 7.0
    (entry,) = await told.entries()
    assert entry["oldest-call"] >= 7.0
    for _ in range(3):
        host.ok()
    await told.here.quiet()


async def test_a_func_that_is_gone_has_a_last_entry(told: Told) -> None:
    await told.here.ask()
    await told.second()
    told.funcs.serving.clear()
    await told.here.ask()
    (entry,) = await told.entries()
    assert (entry["state"], entry["arrivals"]) == ("retired", 2)
    message = await told.second()
    assert message is not None
    assert message["funcs"] == []


async def test_a_func_that_is_enabled_anew_begins_to_count_anew(told: Told) -> None:
    await told.here.ask()
    (before,) = await told.entries()
    old, new = told.here.func, Func(told.here.func.deployment, told.here.tools)
    await old.stop_taking()
    await new.serve()
    told.funcs.serving[new.deployment.queue] = new
    told.funcs.leaving.add(old)
    await told.here.ask()
    (entry,) = await told.entries()
    assert (before["life"], entry["life"], entry["arrivals"]) == (1, 2, 1)
    told.funcs.leaving.clear()
    (last,) = await told.entries()
    assert (last["life"], last["state"], last["arrivals"]) == (1, "retired", 1)
    await new.close(grace=0.0)


async def test_a_runner_says_its_figures_and_the_last_ones_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "TELL", 0.01)
    talk = Talk()
    await talk.start()
    talk.tell(messages.tron_info("tron", ("127.0.0.1", 1)))
    first = await talk.hears("stats")
    assert (first["instance-id"], first["full"]) == ("r1", True)
    talk.tell(messages.resend_awake("tron"))
    again = await talk.hears("stats", 2, full=True)
    assert (again["start"], again["seq"] > first["seq"]) == (first["start"], True)
    await talk.control.stop()
    talk.control.awake()
    talk.control.died()
    await talk.hears("died")
    assert [message["action"] for message in talk.heard[-2:]] == ["stats", "died"]
    await talk.outbox.settle()
    await talk.broker.close()
    await talk.tron.close()


async def test_a_tron_that_does_not_know_figures_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "TELL", 0.01)
    monkeypatch.setattr(control_module, "BEAT", 0.05)
    talk = Talk()
    await talk.start()
    talk.tell({**messages.tron_info("tron", ("127.0.0.1", 1)), "takes": ["something else"]})
    await talk.hears("heartbeat", 3)
    assert [message for message in talk.heard if message["action"] == "stats"] == []
    await talk.control.stop()
    talk.control.died()
    await talk.hears("died")
    assert [message for message in talk.heard if message["action"] == "stats"] == []
    await talk.broker.close()
    await talk.tron.close()


async def test_a_failure_to_tell_is_logged_and_the_next_message_says_everything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control_module, "TELL", 0.01)
    talk = Talk()
    await talk.start()
    talk.tell(messages.tron_info("tron", ("127.0.0.1", 1)))
    await talk.hears("stats")
    talk.fleet.serving["q"] = object()
    await until(lambda: "cannot be told" in caplog.text)
    del talk.fleet.serving["q"]
    await talk.hears("stats", 2, full=True)
    await talk.control.stop()
    await talk.broker.close()
    await talk.tron.close()


# its parts


class Used:
    """Stands for a host."""

    def __init__(self, pid: int, cpu: float) -> None:
        self.pid, self._cpu = pid, cpu

    def cpu(self) -> float:
        return self._cpu

    def rss(self) -> int:
        return 10


def test_what_hosts_used_that_have_ended_is_kept() -> None:
    usage = Usage()
    assert usage.look([]) == {}
    assert usage.look([Used(1, 2.0), Used(2, 1.0)]) == {"cpu-seconds": 3.0, "rss-bytes": 20}  # type: ignore[list-item]
    assert usage.look([Used(2, 1.5)]) == {"cpu-seconds": 3.5, "rss-bytes": 10}  # type: ignore[list-item]
    assert usage.look([Used(2, 0.0)]) == {"cpu-seconds": 3.5, "rss-bytes": 10}, "it is gone"  # type: ignore[list-item]
    assert usage.look([]) == {"cpu-seconds": 3.5, "rss-bytes": 0}


async def test_starts_are_counted_while_they_run_and_timed_when_they_succeed() -> None:
    starts, gate, fail = Starts(), asyncio.Event(), False

    async def launch(_: Any) -> Any:
        await gate.wait()
        if fail:
            raise RuntimeError("no")
        return "host"

    running = asyncio.ensure_future(starts.watch(launch)(lambda *_: None))
    await until(lambda: starts.running == 1)
    assert starts.totals() == {}
    gate.set()
    assert await running == "host"
    assert (starts.running, starts.done) == (0, 1)
    fail = True
    with pytest.raises(RuntimeError):
        await starts.watch(launch)(lambda *_: None)
    assert (starts.running, starts.totals()["starts"]) == (0, 1)


def test_a_control_group_limits_memory_and_cores(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    600 kB\n")
    assert machine.total_memory(info, tmp_path) == 1_024_000
    assert machine.available_memory(info, tmp_path) == 614_400
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.total_memory(info, tmp_path) == 1_024_000
    (tmp_path / "memory.max").write_text("500000\n")
    (tmp_path / "memory.current").write_text("450000\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.total_memory(info, tmp_path) == 500_000
    assert machine.available_memory(info, tmp_path) == 50_000
    assert machine.cores(tmp_path) == 0.5


def test_what_the_machine_does_not_say_is_not_known(tmp_path: Path) -> None:
    assert machine.total_memory(tmp_path / "none", tmp_path) is None
    assert machine.available_memory(tmp_path / "none", tmp_path) is None
    assert machine.cores(tmp_path / "none") >= 1
