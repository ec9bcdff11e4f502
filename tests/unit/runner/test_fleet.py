"""Which Funcs a Runner serves, and how they follow each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from funcatron.brokers.base import Queue
from funcatron.errors import BadSpec, LoadError
from funcatron.runner import fleet as fleet_module
from funcatron.runner.deployment import Deployment
from funcatron.runner.fleet import Funcs
from tests.unit.runner.fakes import QUEUE, SHA, World, json_answer, until, world

ONE = Deployment(SHA, QUEUE)


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, Funcs]]:
    """A Runner that serves nothing yet."""
    async with world(tmp_path, monkeypatch) as here:
        funcs = Funcs(here.tools)
        yield here, funcs
        await funcs.close(grace=0.0)


async def test_an_enabled_func_has_been_checked_by_a_host(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    operations = await funcs.enable(ONE)
    assert "app.greet" in operations
    assert len(here.hosts) == 1
    assert (await here.ask()).status == 200
    assert len(here.hosts) == 1


async def test_what_cannot_be_loaded_is_not_served_and_what_served_goes_on(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.enable(ONE)
    for number, error in enumerate([LoadError("no", ["no module"]), BadSpec("no", ["wrong"])]):
        here.start_errors = [error] if isinstance(error, LoadError) else []
        here.load_error = error if isinstance(error, BadSpec) else None
        with pytest.raises(type(error)):
            await funcs.enable(Deployment(SHA, QUEUE, props={"n": number}))
    assert (await here.ask()).status == 200
    assert funcs.serving[QUEUE].deployment == ONE
    assert here.tools.capacity.used == 1


async def test_the_same_deployment_again_changes_nothing(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.enable(ONE)
    before = funcs.serving[QUEUE]
    await funcs.enable(ONE)
    assert funcs.serving[QUEUE] is before
    assert len(here.hosts) == 1


async def test_new_settings_replace_the_hosts_and_lose_nothing(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    here.reply = None
    await funcs.enable(ONE)
    request = here.send()
    old = await here.call_at()
    here.reply = lambda frame, body: json_answer("new")
    await funcs.enable(Deployment(SHA, QUEUE, props={"a": 2}))
    assert (await here.ask()).body == b'"new"'
    old.ok("old")
    assert (await here.reply_to(request)).body == b'"old"'
    await until(lambda: old.ended == "stopped")
    await until(lambda: not funcs.leaving)


async def test_reconciling_starts_no_host(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.reconcile([ONE])
    assert (await here.ask()).status == 200
    assert here.loads == 1


async def test_reconciling_drops_what_is_not_wanted(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.enable(ONE)
    await funcs.reconcile([])
    await until(lambda: not funcs.leaving and not funcs.serving)
    assert here.hosts[0].ended == "stopped"
    assert not here.hub.queues[QUEUE].takers


async def test_reconciling_leaves_what_is_as_wanted(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    await funcs.enable(ONE)
    before = funcs.serving[QUEUE]
    await funcs.reconcile([ONE])
    assert funcs.serving[QUEUE] is before
    assert here.loads == 1


async def test_a_queue_that_is_not_there_yet_is_waited_for(
    fleet: tuple[World, Funcs], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, funcs = fleet
    monkeypatch.setattr(fleet_module, "RETRY", 0.01)
    await here.client.delete(QUEUE)
    await funcs.reconcile([ONE])
    await asyncio.sleep(0.03)
    await here.client.declare(Queue(QUEUE))
    assert (await here.ask()).status == 200


async def test_a_disabled_func_is_drained(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    here.reply = None
    await funcs.enable(ONE)
    request = here.send()
    host = await here.call_at()
    disabling = asyncio.create_task(funcs.disable(SHA, QUEUE, drain=True))
    await until(lambda: funcs.report()[0]["state"] == "draining")
    host.ok()
    assert await disabling
    assert (await here.reply_to(request)).status == 200
    assert funcs.report() == []
    assert not await funcs.disable(SHA, QUEUE, drain=True)


async def test_the_wanted_state_may_bring_a_draining_func_back(fleet: tuple[World, Funcs]) -> None:
    here, funcs = fleet
    here.reply = None
    await funcs.enable(ONE)
    here.send()
    host = await here.call_at()
    disabling = asyncio.create_task(funcs.disable(SHA, QUEUE, drain=True))
    await until(lambda: funcs.leaving)
    here.reply = lambda frame, body: json_answer()
    await funcs.enable(ONE)
    host.ok()
    await disabling
    assert (await here.ask()).status == 200


async def test_a_lost_connection_is_told_to_all_funcs(fleet: tuple[World, Funcs]) -> None:
    _, funcs = fleet
    await funcs.enable(ONE)
    funcs.connection_lost()
    funcs.tick()
    assert len(funcs) == 1
