"""How Funcs share the places for hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from funcatron.runner import capacity as capacity_module
from funcatron.runner.capacity import Capacity, default_limit
from funcatron.runner.machine import short_of_memory
from funcatron.settings import Settings


class Holder:
    """A pool, played."""

    def __init__(self, capacity: Capacity, idle: list[float], busy: list[float]) -> None:
        self.capacity, self.times = capacity, {True: idle, False: busy}
        capacity.holders.add(self)

    def oldest(self, *, idle: bool) -> float | None:
        return min(self.times[idle], default=None)

    def size(self) -> int:
        return len(self.times[True]) + len(self.times[False])

    def give_up(self, *, idle: bool) -> None:
        times = self.times[idle]
        times.remove(min(times))
        asyncio.get_running_loop().call_soon(self.capacity.give)


async def full(limit: int) -> Capacity:
    capacity = Capacity(limit)
    for _ in range(limit):
        await capacity.take()
    return capacity


async def test_a_first_host_takes_the_place_of_the_host_that_is_idle_for_longest() -> None:
    capacity = await full(4)
    young, old = Holder(capacity, [5.0], [1.0]), Holder(capacity, [3.0], [2.0])
    await asyncio.wait_for(capacity.take(), 1)
    assert (young.size(), old.size()) == (2, 1)
    assert capacity.used == 4


async def test_where_none_is_idle_the_func_with_the_most_hosts_gives_one() -> None:
    capacity = await full(3)
    big, small = Holder(capacity, [], [5.0, 6.0]), Holder(capacity, [], [1.0])
    await asyncio.wait_for(capacity.take(), 1)
    assert (big.size(), small.size()) == (1, 1)


async def test_where_each_has_one_busy_host_they_take_turns() -> None:
    capacity = await full(2)
    old, young = Holder(capacity, [], [1.0]), Holder(capacity, [], [2.0])
    await asyncio.wait_for(capacity.take(), 1)
    assert (old.size(), young.size()) == (0, 1)


async def test_growth_leaves_a_quarter_for_first_hosts() -> None:
    capacity = Capacity(4)
    assert [capacity.take_extra() for _ in range(4)] == [True, True, True, False]


async def test_who_gives_up_waiting_takes_no_place() -> None:
    capacity = await full(1)
    waiting = asyncio.create_task(capacity.take())
    await asyncio.sleep(0)
    assert capacity.wanted
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not capacity.wanted
    capacity.give()
    assert capacity.used == 0


async def test_who_is_cancelled_at_the_moment_of_the_gift_passes_it_on() -> None:
    capacity = await full(1)
    waiting = asyncio.create_task(capacity.take())
    await asyncio.sleep(0)
    capacity.give()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert capacity.used == 0


def test_the_limit_follows_the_memory() -> None:
    assert 8 <= default_limit() <= 512


def test_runners_that_share_a_machine_share_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_module, "total_memory", lambda: 16 * 2**30)
    assert [default_limit(runners) for runners in (1, 2, 100)] == [128, 64, 8]


async def test_no_place_is_given_while_memory_is_short() -> None:
    capacity = Capacity(4)
    await capacity.take()
    capacity.note_memory(short=True)
    assert not capacity.take_extra()
    waiting = asyncio.create_task(capacity.take())
    await asyncio.sleep(0)
    capacity.give()
    await asyncio.sleep(0)
    assert (waiting.done(), capacity.used) == (False, 0)
    capacity.note_memory(short=False)
    await asyncio.wait_for(waiting, 1)
    assert capacity.used == 1


def test_who_has_shared_the_places_out_may_have_all_of_them() -> None:
    capacity = Capacity(4)
    assert [capacity.take_extra(allotted=True) for _ in range(5)] == [True, True, True, True, False]


def test_memory_is_short_when_less_is_left_than_should_stay_free(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 100 kB\n")
    (tmp_path / "memory.max").write_text("512000\n")
    (tmp_path / "memory.current").write_text("450000\n")
    assert not short_of_memory(102_400, tmp_path / "meminfo", tmp_path / "none")
    assert short_of_memory(102_401, tmp_path / "meminfo", tmp_path / "none")
    assert not short_of_memory(62_000, tmp_path / "meminfo", tmp_path)
    assert short_of_memory(62_001, tmp_path / "meminfo", tmp_path)
    assert not short_of_memory(2**60, tmp_path / "none", tmp_path / "none")


def test_a_twentieth_of_the_memory_stays_free_unless_a_setting_says_how_much() -> None:
    mib = 2**20
    reserves = [Settings().reserve(memory) for memory in (None, 100 * mib, 4096 * mib, 2**40)]
    assert reserves == [64 * mib, 64 * mib, 4096 * mib // 20, 1024 * mib]
    assert Settings(memory_reserve=5).reserve(2**40) == 5
