"""Who leads, and that nobody else changes anything: on each database, by real processes where it matters."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from funcatron.errors import NotLeader, StoreError
from funcatron.stores.idempotency import Answer
from funcatron.stores.lease import Lease
from funcatron.stores.records import Deployment, Event
from funcatron.stores.registry import Change
from funcatron.stores.scaling import Scaling
from funcatron.stores.sql import facts
from tests.conformance.registry.conftest import PATIENCE, A, record, saved, until, version

SHORT = 0.3  # s of silence after which these tests take over


async def taken(registry, holder, ttl=SHORT) -> Lease:
    """Take the lease as soon as it can be taken."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                lease = await registry.acquire(holder, f"http://{holder}", ttl)
            except StoreError:
                lease = None  # whoever holds the row has not been cut off yet
            if lease is not None:
                return lease
            await asyncio.sleep(0.02)


async def test_the_first_who_asks_leads_and_the_others_know_where(registry, store):
    other = await store.registry()
    lease = await registry.acquire("tron-1", "http://one")
    assert lease == Lease("tron-1", "http://one", epoch=1, beat=0)
    assert await other.acquire("tron-2", "http://two") is None
    assert await other.leader() == lease


async def test_a_leader_that_gives_signs_of_life_is_never_followed(store):
    now = 0.0
    leader, other = await store.registry(), await store.registry(monotonic=lambda: now)
    lease = await leader.acquire("tron-1", "http://one")
    for _ in range(10):
        assert await other.acquire("tron-2", "http://two", 3.0) is None
        now += 2.9
        lease = await leader.renew(lease)
    assert (lease.epoch, lease.beat) == (1, 10)


async def test_a_silent_leader_is_followed_by_the_watchers_clock_alone(store):
    now = 1e9  # clocks of machines have nothing in common
    leader, other = await store.registry(monotonic=lambda: 5.0), await store.registry(monotonic=lambda: now)
    lease = await leader.acquire("tron-1", "http://one")
    assert await other.acquire("tron-2", "http://two", 3.0) is None
    now += 2.99
    assert await other.acquire("tron-2", "http://two", 3.0) is None
    now += 0.02
    assert await other.acquire("tron-2", "http://two", 3.0) == Lease("tron-2", "http://two", epoch=2)
    with pytest.raises(NotLeader, match="epoch 1 is over"):
        await leader.renew(lease)


async def test_a_lease_that_was_given_up_is_free_at_once(registry, store):
    other = await store.registry()
    lease = await registry.acquire("tron-1", "http://one")
    await registry.release(lease)
    await registry.release(lease)
    assert (await registry.leader()).holder is None
    taken_over = await other.acquire("tron-2", "http://two")
    assert taken_over.epoch == 2
    await registry.release(lease)
    assert await other.leader() == taken_over


async def test_who_was_not_told_that_it_leads_leads_when_it_asks_again(registry):
    first = await registry.acquire("tron-1", "http://one")
    second = await registry.acquire("tron-1", "http://one")
    assert (first.epoch, second.epoch) == (1, 2)


async def test_until_somebody_leads_anybody_changes_and_then_nobody_else(registry, store):
    await saved(registry, Deployment("one", version()))
    lease = await registry.acquire("tron-1", "http://one")
    changes = [
        lambda made: made.apply(Change(events=(Event(1.0, "one", A, "deploy", "begun"),))),
        lambda made: made.remember("x", 1),
        lambda made: made.add_bundle(record("d" * 64)),
        lambda made: made.set_scaling("one", Scaling(min=1)),
        lambda made: made.add_decisions([]),
        lambda made: made.begin_request("k", "print"),
        lambda made: made.end_request("k", Answer(200, b"")),
        lambda made: made.forget_request("k"),
    ]
    other = await store.registry()
    for change in changes:
        for refused in (registry, other, registry.under(lease.epoch + 1)):
            with pytest.raises(NotLeader, match="tron-1 leads"):
                await change(refused)
    assert await registry.fact("x") is None
    for change in changes:
        await change(registry.under(lease.epoch))
    assert await other.fact("x") == 1


async def test_what_is_left_of_an_earlier_time_as_leader_is_refused_in_the_same_process(registry):
    early = registry.under((await registry.acquire("tron-1", "http://one")).epoch)
    late = registry.under((await registry.acquire("tron-1", "http://one")).epoch)
    await late.remember("x", "late")
    with pytest.raises(NotLeader):
        await early.remember("x", "early")
    assert await registry.fact("x") == "late"


async def test_of_two_processes_that_race_for_the_lease_one_wins(store):
    one, two = await store.actor(), await store.actor()
    watcher = await store.registry()
    for round_ in range(10):
        for actor in (one, two):
            actor.tell("acquire", holder=f"tron-{actor.pid}", ttl=60.0)
        found = [(await actor.reply())["done"] for actor in (one, two)]
        won = [lease for lease in found if lease is not None]
        assert len(won) == 1
        assert won[0]["epoch"] == round_ + 1
        lease = await watcher.leader()
        assert lease.holder == won[0]["holder"]
        await watcher.release(lease)


async def test_of_two_registries_that_both_saw_it_silent_one_wins(store):
    now = 0.0
    leader = await store.registry()
    await leader.acquire("tron-0", "http://zero")
    others = [await store.registry(monotonic=lambda: now) for _ in range(5)]

    async def all_ask():
        return await asyncio.gather(*(one.acquire(f"t{i}", f"http://{i}", 3.0) for i, one in enumerate(others)))

    assert await all_ask() == [None] * 5
    now = 3.0
    assert len([lease for lease in await all_ask() if lease is not None]) == 1


async def test_of_two_processes_that_race_for_a_path_one_gets_it_and_the_other_is_told_by_whom(store):
    one, two = await store.actor(), await store.actor()
    for round_ in range(10):
        for actor in (one, two):
            actor.tell("deploy", name=f"n{round_}-{actor.pid}", path=f"/{round_}")
        found = [await actor.reply() for actor in (one, two)]
        lost = [reply for reply in found if "error" in reply]
        assert [reply["error"] for reply in lost] == ["Conflict"]
        winner = one if "done" in found[0] else two
        assert f"any host/{round_} belongs to the deployment n{round_}-{winner.pid}" in lost[0]["text"]


async def test_a_leader_that_was_paused_changes_nothing_once_it_wakes_up(store):
    old = await store.actor()
    await old.ask("acquire", holder="tron-old")
    assert "done" in await old.ask("deploy", name="before", path="/before")
    new = await store.registry()
    old.signal(signal.SIGSTOP)
    lease = await taken(new, "tron-new")
    assert lease.epoch == 2
    await new.under(2).remember("x", "new")
    old.signal(signal.SIGCONT)
    refused = await old.ask("deploy", name="late", path="/late")
    assert refused["error"] == "NotLeader"
    assert "epoch 1 is over: tron-new leads" in refused["text"]
    assert (await old.ask("renew"))["error"] == "NotLeader"
    assert [one.name for one in await new.deployments()] == ["before"]
    assert await new.leader() == lease


async def test_what_a_leader_has_begun_is_done_before_another_leads(registry, store):
    lease = await registry.acquire("tron-old", "http://old")
    begun, go_on = threading.Event(), threading.Event()

    def slow(db):
        facts.write(db, "x", "old")
        begun.set()
        assert go_on.wait(PATIENCE)

    change = asyncio.create_task(registry.under(lease.epoch)._change(slow))
    await asyncio.to_thread(begun.wait, PATIENCE)
    other = await store.registry()
    await other.acquire("tron-new", "http://new", 0.0)
    taking = asyncio.create_task(other.acquire("tron-new", "http://new", 0.0))
    done, _ = await asyncio.wait({taking}, timeout=0.5)
    go_on.set()
    assert not done
    await change
    assert (await taking).epoch == 2
    assert await other.fact("x") == "old"


async def test_a_leader_that_is_killed_is_followed(store):
    old = await store.actor()
    await old.ask("acquire", holder="tron-old")
    new = await store.registry()
    old.signal(signal.SIGKILL)
    await old.gone()
    assert (await taken(new, "tron-new")).epoch == 2


async def test_a_leader_that_is_paused_in_the_middle_of_a_change_is_cut_off_and_followed(server):
    old = await server.actor()
    await old.ask("acquire", holder="tron-old")
    await old.ask("stop_at_commit")
    old.tell("deploy", name="late", path="/late")
    await until(lambda: _state(old.pid) == "T")
    new = await server.registry()
    assert (await taken(new, "tron-new")).epoch == 2  # its row is locked until the server cuts the old one off
    old.signal(signal.SIGCONT)
    assert (await old.reply())["error"] in {"StoreError", "NotLeader"}
    assert await new.deployments() == []


async def test_a_process_that_is_paused_in_the_middle_of_a_change_of_a_file_is_followed_once_it_goes_on(file):
    old = await file.actor()
    await old.ask("acquire", holder="tron-old")
    await old.ask("stop_at_commit")
    new = await file.registry()
    old.tell("deploy", name="begun", path="/begun")
    await until(lambda: _state(old.pid) == "T")
    assert await new.acquire("tron-new", "http://new", SHORT) is None
    await asyncio.sleep(SHORT)  # the silence that it takes
    with pytest.raises(StoreError, match="locked"):
        await new.under(2).remember("x", 1)
    assert await new.deployments() == []
    async with asyncio.timeout(PATIENCE):
        while _state(old.pid) == "T":
            old.signal(signal.SIGCONT)
            await asyncio.sleep(0.05)
    assert (await taken(new, "tron-new")).epoch == 2


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
