"""What the Registry does when its database is away, held, full or lost in the middle: a clear error in bounded time."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
from sqlalchemy import event

from funcatron.errors import Conflict, StoreError
from funcatron.stores.blobs import Full
from funcatron.stores.database import Database
from funcatron.stores.engine import READERS
from funcatron.stores.records import Deployment, Event
from funcatron.stores.registry import Change, Registry
from tests.conformance.registry.conftest import PATIENCE, A, saved, version

BEGUN = Event(1.0, "one", A, "deploy", "begun")


async def bounded(call):
    """Wait for a call that must end."""
    async with asyncio.timeout(PATIENCE):
        return await call


async def test_while_somebody_else_is_in_the_middle_of_a_change_reads_go_on_and_changes_end_in_time(registry, store):
    one = await saved(registry, Deployment("one", version()))
    with store.held():
        assert await bounded(registry.deployments()) == [one]
        with pytest.raises(StoreError):
            await bounded(saved(registry, one.at("routed", 2.0), events=(BEGUN,)))
        assert await bounded(registry.history()) == []
    assert (await saved(registry, one.at("routed", 2.0))).stage == "routed"


async def test_a_change_that_nobody_waits_for_any_more_is_not_made(registry, store):
    one = await saved(registry, Deployment("one", version()))
    with store.held():
        job = asyncio.create_task(saved(registry, one.at("failed", 2.0), events=(BEGUN,)))
        done, _ = await asyncio.wait({job}, timeout=0.3)  # it has begun by then, and waits
        assert not done
        job.cancel()
        await asyncio.wait({job})
    assert await registry.history() == []
    assert await registry.deployments() == [one]
    assert (await saved(registry, one.at("routed", 3.0))).stage == "routed"


async def test_many_calls_that_nobody_waits_for_leave_room_for_others(registry, store):
    with store.held():
        jobs = [asyncio.create_task(registry.remember("x", number)) for number in range(4 * READERS)]
        await asyncio.wait(jobs, timeout=0.2)
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
        assert await bounded(registry.deployments()) == []
    assert await registry.fact("x") is None


async def test_a_process_that_is_killed_between_begin_and_commit_has_changed_nothing(store):
    actor, registry = await store.actor(), await store.registry()
    await actor.ask("deploy", name="before", path="/before")
    await actor.ask("die_at_commit")
    actor.tell("deploy", name="late", path="/late")
    assert await actor.gone() == -signal.SIGKILL
    assert [one.name for one in await registry.deployments()] == ["before"]
    assert [one.name for one in await registry.history()] == ["before"]
    assert (await registry.routes_state())[1] == 1
    await bounded(saved(registry, Deployment("next", version(path="/late"))))


async def test_a_change_whose_commit_was_not_confirmed_may_be_made_again(registry, monkeypatch):
    write = Database.write

    async def unconfirmed(self, work, limit=5.0):
        await write(self, work, limit)
        raise StoreError("the Registry was lost while it committed")

    change = Change(save=Deployment("one", version()).at("routed", 1.0), events=(BEGUN,), routes=True)
    monkeypatch.setattr(Database, "write", unconfirmed)
    with pytest.raises(StoreError):
        await registry.apply(change)
    monkeypatch.undo()
    made = await registry.apply(change)
    assert made.deployment in await registry.deployments()
    assert len(await registry.history()) == 1
    assert (await registry.routes_state())[1] == made.routes_version == 1
    await saved(registry, made.deployment.at("draining", 2.0))


async def test_a_registry_that_was_closed_can_be_opened_again(registry):
    await registry.close()
    await registry.close()
    with pytest.raises(StoreError, match="not open"):
        await registry.deployments()
    await registry.open()
    assert await registry.deployments() == []


async def test_closing_waits_for_what_is_under_way(registry, store):
    jobs = [asyncio.create_task(registry.add_decisions([])) for _ in range(20)]
    await asyncio.sleep(0)
    await bounded(registry.close())
    for job in jobs:
        await job


# a file


async def test_a_full_disk_says_so_and_what_was_written_stays(file):
    registry = await file.registry()
    await registry.remember("kept", 1)
    engine = registry._database._engine
    pages = (await registry._database.read(lambda db: db.exec_driver_sql("PRAGMA page_count").scalar())) + 2

    def limit(raw, _record):
        raw.execute(f"PRAGMA max_page_count={pages}")

    event.listen(engine, "connect", limit)
    engine.dispose()  # so that every connection has the limit
    with pytest.raises(Full, match="disk is full: free some room"):
        await registry.remember("large", "x" * 100_000)
    assert await registry.fact("kept") == 1
    assert await registry.fact("large") is None
    event.remove(engine, "connect", limit)
    engine.dispose()
    await registry.remember("large", "x" * 100_000)
    assert len(await registry.fact("large")) == 100_000


async def test_a_file_that_may_not_grow_says_so_and_works_again_once_it_may(file):
    actor = await file.actor()
    assert "done" in await actor.ask("write", size=1)
    await actor.ask("limit_files", more=4096)
    refused = await actor.ask("write", size=1_000_000)
    assert refused["error"] == "StoreError"
    assert "the Registry" in refused["text"]
    assert "done" in await actor.ask("count")
    await actor.ask("limit_files", more=-1)
    assert "done" in await actor.ask("write", size=1_000_000)


async def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="folder cannot be made"):
        await Registry(f"sqlite:///{tmp_path}/file/registry.db").open()


# a server


@pytest.fixture
def away(server):
    """A server that is there again after the test, whatever was done to it."""
    yield server
    server.node.resume()
    server.node.stop()
    server.node.start()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_without_its_server_everything_is_refused_and_works_again_by_itself(away, how):
    registry = await away.registry()
    one = Deployment("one", version(), enabled=False, stage="disabled")
    await asyncio.gather(*(registry.deployments() for _ in range(READERS)))  # connections that lie in the pool
    getattr(away.node, how)()
    for _ in range(3):
        for call in (registry.deployments(), registry.remember("x", 1), registry.leader(), saved(registry, one)):
            with pytest.raises(StoreError, match="the Registry failed"):
                await bounded(call)
    away.node.start()
    assert await registry.deployments() == []
    await registry.remember("x", 2)
    assert await registry.fact("x") == 2


async def test_a_server_that_comes_back_between_two_calls_is_not_noticed(away):
    registry = await away.registry()
    await asyncio.gather(*(registry.deployments() for _ in range(READERS)))
    away.node.stop()
    away.node.start()
    for number in range(2 * READERS):
        await registry.remember("x", number)


async def test_a_server_that_does_not_answer_holds_nobody_up_for_long(away):
    registry = await away.registry()
    await asyncio.gather(*(registry.deployments() for _ in range(READERS)))
    away.node.pause()
    calls = [registry.deployments() for _ in range(2 * READERS)] + [registry.remember("x", 1)]
    found = await bounded(asyncio.gather(*calls, return_exceptions=True))
    assert {type(one) for one in found} == {StoreError}
    await bounded(registry.close())  # no thread is left in the middle of a call
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("registry")]
    away.node.resume()
    await registry.open()
    assert await registry.fact("x") is None


async def test_a_registry_whose_server_is_away_does_not_open_but_later(away):
    registry = Registry(away.url)
    away.node.stop()
    with pytest.raises(StoreError, match="the Registry failed"):
        await bounded(registry.open())
    away.node.start()
    await registry.open()
    assert await registry.deployments() == []
    await registry.close()


async def test_a_server_whose_disk_is_full_says_so(server):
    registry = await server.registry()
    full = "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"
    with pytest.raises(Full, match="disk is full"):
        await registry._database.write(lambda db: db.exec_driver_sql(full))


async def test_a_constraint_that_is_broken_is_a_conflict(server):
    registry = await server.registry()
    with pytest.raises(Conflict, match="at the same moment"):
        await registry._database.write(lambda db: db.exec_driver_sql("INSERT INTO facts VALUES ('epoch', '1')"))
