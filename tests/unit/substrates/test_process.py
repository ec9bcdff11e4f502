"""The `process` substrate in trouble: owners that die, ids that are used again, files that are damaged."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from funcatron.errors import NotLeader, SubstrateAway, SubstrateError
from funcatron.substrates.base import Result, State, ensure
from funcatron.substrates.process import Launch, ProcessSubstrate, keeping, proc
from funcatron.substrates.process import folder as process_folder
from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.store import Store
from tests.substrates import BROKEN, PATIENCE, RUNNER, ProcessWorld, seen, settled, starts, until

# A Tron, as far as it matters here: opens the substrate, scales as it is told by a line, says so, and lives on.
OWNER = """
import asyncio, json, sys
from pathlib import Path
from funcatron.substrates.process import Launch, ProcessSubstrate

async def main():
    told = json.loads(sys.argv[1])
    launches = {
        name: Launch(tuple(it["argv"]), it["env"], Path(it["cwd"]), it["grace"])
        for name, it in told["launches"].items()
    }
    substrate = ProcessSubstrate(Path(told["folder"]), launches, Path(told["log"]))
    await substrate.open()
    print("open", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        count, epoch = map(int, line.split())
        await substrate.scale("runner", count, epoch)
        print("scaled", flush=True)

asyncio.run(main())
"""


class Owner:
    """Another process that has a client of the substrate."""

    def __init__(self, world: ProcessWorld) -> None:
        launches = {
            name: {"argv": it.argv, "env": dict(it.env), "cwd": str(it.cwd), "grace": it.grace}
            for name, it in world.launches.items()
        }
        told = {"launches": launches, "folder": str(world.record.parent), "log": str(world.data / "log")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, json.dumps(told)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "open"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, count: int, epoch: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count} {epoch}\n")
        self.process.stdin.flush()

    def scale(self, count: int, epoch: int) -> None:
        self.ask(count, epoch)
        assert self.line() == "scaled"

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner(world: ProcessWorld) -> Iterator[Owner]:
    made = Owner(world)
    yield made
    made.close()


@pytest.fixture
async def substrate(world: ProcessWorld) -> ProcessSubstrate:
    client: ProcessSubstrate = await world.client()
    return client


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Any]:
    """Makes a client for components of the test's own, and ends all of them."""
    clients = []

    async def begin(launches: dict[str, Launch], **options: Any) -> ProcessSubstrate:
        clients.append(ProcessSubstrate(tmp_path / "run" / "substrate", launches, tmp_path / "log", **options))
        await clients[-1].open()
        return clients[-1]

    yield begin
    assert await asyncio.to_thread(process_folder.stop_all, tmp_path, 0.1) == []
    for client in clients:
        await client.close()


def running(world: ProcessWorld) -> set[str]:
    """Return which instances have a process, whatever is on record."""
    return {mark.id for mark in proc.marked(world.record.parent)}


def pids(world: ProcessWorld) -> dict[str, int]:
    return {mark.id: it.pid for mark, it in proc.marked(world.record.parent).items()}


def change_record(world: ProcessWorld, change: Any) -> None:
    """Change the record behind everybody's back."""
    data = json.loads(world.record.read_text())
    change(data)
    world.record.write_text(json.dumps(data))


# the owner dies, or is stopped


async def test_a_killed_owner_leaves_instances_that_the_next_one_adopts(world: ProcessWorld, owner: Owner) -> None:
    owner.scale(2, 1)
    client = await world.client()
    before = await settled(client, 2)
    for it in before.instances:
        await world.up(it)
    owner.kill()
    assert starts(await client.look(RUNNER)) == starts(before)
    assert "nobody looks after" in (await client.explain(RUNNER))[0]
    await client.scale(RUNNER, 2, 2)
    assert await client.explain(RUNNER) == ()
    victim = before.instances[0]
    await world.kill(victim)
    view = await seen(client, RUNNER, lambda view: view.instances[0].start not in {victim.start, ""})
    assert view.instances[0].id == victim.id
    # whoever inherits orphans may have buried it before we looked
    assert any(how in world.entry(victim.id).reason for how in ("was killed by SIGKILL", "nobody saw how"))
    await settled(client, 2)


async def test_no_process_runs_that_is_not_on_record_whenever_the_owner_is_killed(world: ProcessWorld) -> None:
    world.grace = (
        1.0  # one that was killed before it could ask an instance to end leaves that to the next, after a grace
    )
    client = await world.client()
    for epoch in range(1, 9):
        owner = Owner(world)
        owner.ask(3 if epoch % 2 else 1, epoch)
        await asyncio.sleep(random.random() * 0.02)  # not to synchronise: to hit any moment
        owner.kill()
        with suppress(SubstrateError):
            await client.scale(RUNNER, 2, epoch)
        await settled(client, 2)
        await until(lambda: len(running(world)) == 2)
        assert running(world) == {it.id for it in (await client.look(RUNNER)).of(State.RUNNING)}


async def test_an_owner_that_was_stopped_and_wakes_up_changes_nothing(world: ProcessWorld, owner: Owner) -> None:
    owner.scale(2, 1)
    client = await world.client()
    before = await settled(client, 2)
    os.kill(owner.process.pid, signal.SIGSTOP)
    await world.kill(before.instances[0])
    await until(lambda: len(running(world)) == 1)
    assert any("stopped by a signal" in it for it in await client.explain(RUNNER))
    await client.scale(RUNNER, 2, 2)
    after = await settled(client, 2)
    os.kill(owner.process.pid, signal.SIGCONT)
    await world.kill(after.instances[1])
    final = await seen(client, RUNNER, lambda view: view.settled and starts(view) != starts(after))
    assert len(running(world)) == 2
    assert [it.restarts for it in final.instances] == [1, 1]


async def test_of_two_living_clients_one_restarts_what_dies(world: ProcessWorld, owner: Owner) -> None:
    owner.scale(1, 1)
    client = await world.client()
    await settled(client, 1)
    for number in range(1, 5):
        if number % 2:
            await client.scale(RUNNER, 1, number + 1)
        else:
            owner.scale(1, number + 1)
        before = await settled(client, 1)
        await world.kill(before.instances[0])
        after = await seen(client, RUNNER, lambda view: view.settled and starts(view) != starts(before))  # noqa: B023
        assert after.instances[0].restarts == number
        assert len(running(world)) == 1


async def test_a_client_whose_place_another_took_lets_go(world: ProcessWorld, substrate: ProcessSubstrate) -> None:
    await substrate.scale(RUNNER, 1, 1)
    before = await settled(substrate, 1)
    other = await world.client()
    await other.scale(RUNNER, 1, 2)
    await world.kill(before.instances[0])
    await until(lambda: substrate._keeping._kept == {})
    after = await seen(other, RUNNER, lambda view: view.settled and starts(view) != starts(before))
    assert after.instances[0].restarts == 1
    assert list(other._keeping._kept) == [RUNNER]


async def test_an_instance_is_asked_to_end_once_however_many_look_after_it(world: ProcessWorld, owner: Owner) -> None:
    owner.scale(1, 1)
    client = await world.client()
    (only,) = (await settled(client, 1)).instances
    await world.up(only)
    world.hold(only)
    owner.scale(0, 1)
    await until(lambda: bool(world.noted(only, "asked")))
    owner.kill()
    await client.scale(RUNNER, 0, 2)
    await seen(client, RUNNER, lambda view: bool(view.of(State.DRAINING)))
    world.release(only)
    await settled(client, 0)
    assert len(world.noted(only, "asked")) == 1


async def test_an_instance_that_may_have_been_asked_to_end_or_not_is_asked_again_when_its_grace_is_over(
    world: ProcessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.grace = 0.5
    substrate = await world.client()
    await substrate.scale(RUNNER, 1, 1)
    (only,) = (await settled(substrate, 1)).instances
    await world.up(only)

    def die(*_: Any) -> None:
        raise RuntimeError("killed at this very moment")

    monkeypatch.setattr(substrate._tending, "_signal", die)
    await substrate.scale(RUNNER, 0, 1)
    await until(lambda: world.entry(only.id).asking)
    await substrate.close()
    client = await world.client()
    await client.scale(RUNNER, 0, 2)
    await seen(client, RUNNER, lambda view: "exited with code 0" in view.instances[0].reason)
    assert len(world.noted(only, "asked")) == 1
    assert world.finished(only)


async def test_a_lock_that_is_held_by_a_stopped_process_makes_busy(world: ProcessWorld) -> None:
    world.options["patience"] = 0.2
    client = await world.client()
    code = (
        "import fcntl, sys, signal; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(1, flush=True); signal.pause()"
    )
    lock = world.record.parent / "lock"
    holder = subprocess.Popen(  # noqa: ASYNC220  # it is small
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        outcome = await client.scale(RUNNER, 1, 1)
        assert outcome.result is Result.BUSY
        assert str(holder.pid) in outcome.why
        assert (await client.look(RUNNER)).wanted == 0
    finally:
        holder.kill()
        holder.communicate()
    await client.scale(RUNNER, 1, 1)
    await settled(client, 1)


async def test_a_caller_that_gives_up_leaves_nobody_unattended(
    world: ProcessWorld, substrate: ProcessSubstrate
) -> None:
    asking = asyncio.create_task(substrate.scale(RUNNER, 1, 1))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await settled(substrate, 1)


# ids that are used again


async def test_a_process_that_has_an_instances_id_by_now_is_not_taken_for_it(
    world: ProcessWorld, substrate: ProcessSubstrate
) -> None:
    await substrate.scale(RUNNER, 1, 1)
    before = await settled(substrate, 1)
    await substrate.close()
    await world.kill(before.instances[0])
    await until(lambda: running(world) == set())
    code = "import subprocess; print(subprocess.Popen(['/bin/sleep', '1000']).pid, flush=True); input()"
    innocent = subprocess.Popen(  # noqa: ASYNC220  # it is small
        [sys.executable, "-c", code], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert innocent.stdout is not None
    child = identity(int(innocent.stdout.readline()))
    try:
        change_record(world, lambda data: data["entries"][0]["process"].update(pid=innocent.pid))
        client = await world.client()
        assert (await client.look(RUNNER)).instances[0].state is State.FAILED
        assert await client.usage(RUNNER) == {}
        await client.scale(RUNNER, 1, 2)
        await settled(client, 1)
        change_record(world, lambda data: data["entries"][0]["process"].update(pid=innocent.pid))
        await client.scale(RUNNER, 0, 2)
        await seen(client, RUNNER, lambda view: view.of(State.GONE) == view.instances)
        assert innocent.poll() is None
        assert proc.alive(child)
    finally:
        os.killpg(innocent.pid, signal.SIGKILL)
        innocent.communicate()


async def test_what_ran_before_the_machine_was_restarted_is_started_again(
    world: ProcessWorld, substrate: ProcessSubstrate
) -> None:
    await substrate.scale(RUNNER, 2, 3)
    before = await settled(substrate, 2)
    await substrate.close()
    for it in before.instances:
        await world.kill(it)
    await until(lambda: running(world) == set())

    def of_another_boot(data: Any) -> None:
        data["boot"] = "another"
        for entry in data["entries"]:  # ids that processes have now
            entry["process"] = {"pid": os.getpid(), "started": proc.stat(os.getpid()).identity.started}  # type: ignore[union-attr]

    change_record(world, of_another_boot)
    client = await world.client()
    view = await client.look(RUNNER)
    assert view.wanted == 2
    assert all(it.state is State.FAILED and "ended with the machine" in it.reason for it in view.instances)
    with pytest.raises(NotLeader):
        await client.scale(RUNNER, 2, 2)
    await client.scale(RUNNER, 2, 4)
    assert {it.id for it in (await settled(client, 2)).instances} == {it.id for it in before.instances}


# files that are damaged


def half(file: Path) -> None:
    text = file.read_bytes()
    file.write_bytes(text[: len(text) // 2])


@pytest.mark.parametrize("damage", [half, Path.unlink])
async def test_a_record_that_is_half_written_or_gone_is_written_again_by_who_knows_it(
    world: ProcessWorld, substrate: ProcessSubstrate, damage: Any
) -> None:
    await substrate.scale(RUNNER, 2, 5)
    before = await settled(substrate, 2)
    damage(world.record)
    os.kill(pids(world)[before.instances[0].id], signal.SIGKILL)  # an event, so that it looks
    after = await seen_again(substrate, lambda view: view.settled and starts(view) != starts(before))
    assert len(starts(after) & starts(before)) == 1
    assert await substrate.epoch(RUNNER) == 5


async def seen_again(substrate: ProcessSubstrate, condition: Any) -> Any:
    """As `seen`, while the record may not be readable."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(SubstrateAway):
                view = await substrate.look(RUNNER)
                if condition(view):
                    return view
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("damage", [half, Path.unlink])
async def test_a_record_that_nobody_knows_is_made_anew_from_what_runs(
    world: ProcessWorld, substrate: ProcessSubstrate, damage: Any
) -> None:
    await substrate.scale(RUNNER, 2, 5)
    before = await settled(substrate, 2)
    await substrate.close()
    damage(world.record)
    client = await world.client()
    for asking in (client.look(RUNNER), client.epoch(RUNNER), client.usage(RUNNER), ensure(client, RUNNER, 9, 9)):
        with pytest.raises(SubstrateAway, match=r"2 running"):
            await asking
    assert "2 running" in (await client.explain(RUNNER))[0]
    with pytest.raises(NotLeader):
        await client.scale(RUNNER, 2, 4)
    await client.scale(RUNNER, 3, 6)
    after = await settled(client, 3)
    assert starts(after) > starts(before)
    await client.scale(RUNNER, 0, 6)
    await settled(client, 0)
    assert running(world) == set()


async def test_a_record_of_a_later_version_is_not_taken_for_an_empty_one(
    world: ProcessWorld, substrate: ProcessSubstrate
) -> None:
    await substrate.scale(RUNNER, 0, 1)
    await substrate.close()
    change_record(world, lambda data: data.update(version=2))
    client = await world.client()
    with pytest.raises(SubstrateAway, match="version"):
        await client.look(RUNNER)


async def test_a_full_disk_refuses_the_change_and_leaves_all_as_it_is(
    world: ProcessWorld, substrate: ProcessSubstrate
) -> None:
    await substrate.scale(RUNNER, 1, 1)
    before = await settled(substrate, 1)
    new = world.record.with_suffix(".new")
    new.mkdir()  # it cannot be opened for writing
    with pytest.raises(SubstrateError, match="cannot be written"):
        await substrate.scale(RUNNER, 3, 1)
    assert starts(await settled(substrate, 1)) == starts(before)
    await world.kill(before.instances[0])
    await until(lambda: bool(substrate._keeping.troubles))
    assert "cannot be written" in (await substrate.explain(RUNNER))[0]
    assert running(world) == set()
    new.rmdir()
    await settled(substrate, 1)
    assert await seen(substrate, RUNNER, lambda view: view.instances[0].restarts >= 1)


async def test_a_record_that_may_be_written_or_not_is_of_unknown_outcome(
    world: ProcessWorld, substrate: ProcessSubstrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(self: Path, target: Path) -> Path:
        monkeypatch.undo()
        os.replace(self, target)
        raise OSError("no answer")

    monkeypatch.setattr(Path, "replace", replace)
    outcome = await substrate.scale(RUNNER, 1, 1)
    assert outcome.result is Result.UNKNOWN
    assert "no answer" in outcome.why
    await settled(substrate, 1)


async def test_components_that_cannot_be_started_are_failures(tmp_path: Path, begin: Any) -> None:
    launches = {
        "absent": Launch(("/no/such/program",), {}, tmp_path, 1.0),
        "nowhere": Launch(("/bin/true",), {}, tmp_path / "no" / "such", 1.0),
        "refused": Launch(("/bin/true",), {"BAD": "a\0b"}, tmp_path, 1.0),
    }
    client = await begin(launches)
    for name, reason in (("absent", "not found"), ("nowhere", "no/such")):
        await client.scale(name, 1, 1)
        await seen(client, name, lambda view: reason in view.instances[0].reason)  # noqa: B023


# ending


async def test_one_that_does_not_end_within_its_grace_is_killed_with_all_that_it_started(
    tmp_path: Path, begin: Any
) -> None:
    code = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['/bin/sleep', '1000'], env={})\n"
        "apart = subprocess.Popen(['/bin/sleep', '1000'], start_new_session=True)\n"
        "print(child.pid, apart.pid, flush=True)\n"
        "signal.pause()\nsignal.pause()"
    )
    launch = Launch((sys.executable, "-c", code), {"PATH": os.environ["PATH"]}, tmp_path, 0.2)
    client = await begin({"deaf": launch})
    await client.scale("deaf", 1, 1)
    (instance,) = (await settled(client, 1, "deaf")).instances
    log = tmp_path / "log" / f"{instance.id}.log"
    await until(lambda: log.read_text().endswith("\n"))
    children = [identity(int(pid)) for pid in log.read_text().split()]
    assert len(children) == 2
    await client.drain("deaf", instance.id, 1)
    await seen(client, "deaf", lambda view: "within its grace" in view.instances[0].reason)
    await until(lambda: not any(map(proc.alive, children)))


def identity(pid: int) -> Identity:
    found = proc.stat(pid)
    assert found is not None
    return found.identity


async def test_what_a_crashed_instance_has_started_ends_with_it(tmp_path: Path, begin: Any) -> None:
    code = "import os, subprocess, sys\nprint(subprocess.Popen(['/bin/sleep', '1000']).pid, flush=True)\nos.abort()"
    launch = Launch((sys.executable, "-c", code), {}, tmp_path, 1.0)
    client = await begin({"crash": launch})
    await client.scale("crash", 1, 1)
    view = await seen(client, "crash", lambda view: "SIGABRT" in view.instances[0].reason)
    await client.scale("crash", 0, 1)
    await seen(client, "crash", lambda view: view.settled)
    started = [int(pid) for pid in (tmp_path / "log" / f"{view.instances[0].id}.log").read_text().split()]
    assert started
    await until(lambda: not any(proc.stat(pid) for pid in started))


async def test_all_is_stopped_and_nobody_starts_it_again(world: ProcessWorld, substrate: ProcessSubstrate) -> None:
    await substrate.scale(RUNNER, 2, 1)
    await substrate.scale(BROKEN, 1, 1)
    before = await settled(substrate, 2)
    for it in before.instances:
        await world.up(it)
    assert {row.id for row in process_folder.listing(world.data)} >= {it.id for it in before.instances}
    assert await asyncio.to_thread(process_folder.stop_all, world.data, 20.0) == []
    assert all(map(world.finished, before.instances))
    assert running(world) == set()
    assert process_folder.listing(world.data) == []
    with pytest.raises(SubstrateError, match="stopped"):
        await substrate.scale(RUNNER, 1, 1)
    assert "stopped" in (await substrate.explain(RUNNER))[0]
    view = await substrate.look(RUNNER)
    assert (view.wanted, {it.state for it in view.instances}) == (0, {State.GONE})
    process_folder.reopen(world.data)
    process_folder.reopen(world.data)
    await substrate.scale(RUNNER, 1, 1)
    after = await settled(substrate, 1)
    assert starts(after).isdisjoint(starts(before))


async def test_stopping_all_ends_also_what_is_not_on_record(world: ProcessWorld, substrate: ProcessSubstrate) -> None:
    await substrate.scale(RUNNER, 2, 1)
    await settled(substrate, 2)
    await substrate.close()
    shutil.rmtree(world.record.parent)
    assert len(running(world)) == 2
    assert await asyncio.to_thread(process_folder.stop_all, world.data, 20.0) == []
    assert running(world) == set()


def test_there_is_nothing_to_stop_or_list_where_nothing_was_started(tmp_path: Path) -> None:
    assert process_folder.stop_all(tmp_path, 1.0) == []
    assert process_folder.listing(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    process_folder.reopen(tmp_path)


async def test_the_list_shows_what_each_instance_is_and_uses(world: ProcessWorld, substrate: ProcessSubstrate) -> None:
    await substrate.scale(RUNNER, 1, 1)
    await substrate.scale(BROKEN, 1, 1)
    (it,) = (await settled(substrate, 1)).instances
    await seen(substrate, BROKEN, lambda view: "code 7" in view.instances[0].reason)
    rows = {row.component: row for row in process_folder.listing(world.data)}
    row = rows[RUNNER]
    assert (row.id, row.state, row.pid, row.note) == (it.id, State.RUNNING, pids(world)[it.id], "")
    assert row.memory_bytes > 100_000
    assert row.up_for > 0
    assert (rows[BROKEN].pid, "code 7" in rows[BROKEN].note) == (0, True)


# logs


async def test_full_logs_are_set_aside(tmp_path: Path, begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ROUND", 0.02)
    code = "import itertools, sys, time\nfor n in itertools.count(): print('line', n, flush=True); time.sleep(0.002)"
    launch = Launch((sys.executable, "-I", "-S", "-c", code), {}, tmp_path, 5.0)
    client = await begin({"chatty": launch}, log_limit=2000)
    await client.scale("chatty", 1, 1)
    (instance,) = (await settled(client, 1, "chatty")).instances
    log = tmp_path / "log" / f"{instance.id}.log"
    await until(log.with_name(f"{log.name}.3").exists)
    await client.scale("chatty", 0, 1)
    await settled(client, 0, "chatty")
    names = sorted(it.name for it in log.parent.iterdir())
    assert names == [log.name, *(f"{log.name}.{number}" for number in (1, 2, 3))]
    assert log.with_name(f"{log.name}.1").stat().st_size >= 2000
    lines = [line for number in (3, 2, 1) for line in log.with_name(f"{log.name}.{number}").read_text().splitlines()]
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line ")]
    assert numbers == sorted(numbers)
    assert b"\0" not in log.read_bytes()


async def test_logs_of_instances_that_are_long_gone_are_deleted(
    world: ProcessWorld, substrate: ProcessSubstrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("funcatron.substrates.process.plan.KEPT", 1)
    gone = []
    for _ in range(3):
        await substrate.scale(RUNNER, 1, 1)
        (it,) = (await settled(substrate, 1)).of(State.RUNNING)
        await world.up(it)
        gone.append(it.id)
        await substrate.scale(RUNNER, 0, 1)
        await settled(substrate, 0)
    await until(lambda: [it.stem for it in (world.data / "log").iterdir()] == gone[-1:])


# the waiting loop


async def test_the_loop_sleeps_while_nothing_happens(world: ProcessWorld, substrate: ProcessSubstrate) -> None:
    await substrate.scale(RUNNER, 2, 1)
    await settled(substrate, 2)
    tended = 0
    tend = substrate._tending.tend

    def counted(*args: Any) -> Any:
        nonlocal tended
        tended += 1
        return tend(*args)

    substrate._tending.tend = counted  # type: ignore[method-assign]
    await asyncio.sleep(1.0)
    assert tended <= 1


async def test_the_state_folder_is_for_its_owner_only(world: ProcessWorld, substrate: ProcessSubstrate) -> None:
    await substrate.scale(RUNNER, 1, 1)
    assert world.record.parent.stat().st_mode & 0o077 == 0
    assert world.record.stat().st_mode & 0o077 == 0
    with pytest.raises(SubstrateError, match="cannot be made"):
        Store(world.script / "x").make()
