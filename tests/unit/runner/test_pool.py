"""Hosts of one Func: started, grown, limited, replaced, stopped."""

from __future__ import annotations

import asyncio
from typing import Any

from funcatron.runner.pool import Pool
from tests.unit.runner.fakes import SPEC, World, json_answer, until, world


def of(here: World) -> Pool:
    """The pool of the Func, which is awake."""
    assert here.func.pool is not None
    return here.func.pool


async def saturate(here: World) -> None:
    """Fill all slots of the first host."""
    here.reply = None
    for _ in range(here.slots):
        here.send()
    await here.call_at(0, here.slots)


async def test_no_host_runs_before_the_first_message(here: World) -> None:
    assert here.loads == 0
    await here.ask()
    assert (here.loads, len(here.hosts)) == (1, 1)


async def test_an_idle_host_is_stopped_and_its_func_falls_asleep(here: World) -> None:
    await here.ask()
    await here.quiet()
    of(here).tick(1e9, 0.0)
    await until(lambda: here.hosts[0].ended == "stopped")
    assert here.tools.capacity.used == 0
    here.func.tick(1e9)
    assert here.func.state == "asleep"
    assert here.func.pool is None
    assert here.func.report() == {
        "sha": "ab" * 32,
        "queue": "func.pets.abababab",
        "state": "serving",
        "stats": here.func.stats.report(),
    }
    assert (await here.ask()).status == 200
    assert here.loads == 2


async def test_as_many_hosts_as_the_spec_wants_stay(here: World) -> None:
    here.smallest, here.largest = 1, 2
    await here.ask()
    await here.quiet()
    of(here).tick(1e9, 0.0)
    assert here.hosts[0].ended is None
    here.hosts[0].kill()
    await here.host(1)


async def test_a_pool_grows_while_its_slots_are_full_of_waiting_calls(here: World) -> None:
    here.largest = 2
    await saturate(here)
    of(here).tick(100.0, 1.0)
    of(here).tick(102.0, 1.0)
    assert len(here.hosts) == 1
    of(here).tick(103.5, 1.0)
    await here.host(1)
    await until(lambda: here.func._prefetch == 8)
    of(here).tick(200.0, 1.0)
    of(here).tick(300.0, 1.0)
    assert len(here.hosts) == 2


async def test_a_pool_grows_while_its_hosts_are_busy(here: World) -> None:
    here.largest = 2
    await saturate(here)
    of(here).tick(100.0, 0.001)
    here.hosts[0].busy = 3.0
    of(here).tick(104.0, 0.001)
    await here.host(1)


async def test_a_pool_does_not_grow_where_another_host_would_not_help(here: World) -> None:
    here.largest = 2
    await saturate(here)
    for now in range(100, 110):
        of(here).tick(now, 0.001)
    await asyncio.sleep(0.01)
    assert len(here.hosts) == 1


async def test_the_first_hosts_of_others_are_kept_free(here: World) -> None:
    here.largest = 2
    here.tools.capacity.limit = 1
    await saturate(here)
    of(here).tick(100.0, 1.0)
    of(here).tick(110.0, 1.0)
    await asyncio.sleep(0.01)
    assert len(here.hosts) == 1


async def test_an_operation_s_own_concurrency_holds_in_each_host(tmp_path: Any, monkeypatch: Any) -> None:
    document = SPEC.replace("operationId: app.put", "operationId: app.put\n      x-funcatron: {concurrency: 1}")
    async with world(tmp_path, monkeypatch, document) as here:
        await here.func.serve()
        here.reply = None
        puts = [here.send("/pets/pets", "PUT") for _ in range(2)]
        host = await here.call_at()
        here.hosts[0].reply = lambda frame, body: json_answer() if frame["operation"] != "app.put" else None
        assert (await here.ask()).status == 200
        assert len(host.calls) == 1
        host.ok("first")
        assert (await here.reply_to(puts[0])).body == b'"first"'
        await here.call_at()
        host.ok("second")
        assert (await here.reply_to(puts[1])).body == b'"second"'
