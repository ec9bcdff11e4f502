"""How Funcs share the places for hosts."""

from __future__ import annotations

import asyncio

import pytest

from funcatron.runner.capacity import Capacity, default_limit


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
