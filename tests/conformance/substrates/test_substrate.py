"""What holds for every Substrate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from funcatron.errors import NotFound, NotLeader, SubstrateAway
from funcatron.substrates.base import (
    Drains,
    Outcome,
    Result,
    State,
    ensure,
    ensure_drained,
)
from tests.substrates import BROKEN, PATIENCE, RUNNER, World, seen, settled, starts

# asking for a number


async def test_before_anything_is_asked_nothing_is_there(substrate: Any) -> None:
    """A known component that was never scaled has a view, and it is empty."""
    view = await substrate.look(RUNNER)
    assert (view.component, view.wanted, view.instances, view.settled) == (RUNNER, 0, (), True)
    assert await substrate.explain(RUNNER) == ()


async def test_scaling_up_runs_so_many_different_instances(substrate: Any) -> None:
    """The number is on record when `scale` returns; then they come."""
    assert (await substrate.scale(RUNNER, 3, 1)).result is Result.TAKEN
    assert (await substrate.look(RUNNER)).wanted == 3
    view = await settled(substrate, 3)
    assert len({it.id for it in view.instances}) == 3
    assert len({it.start for it in view.instances}) == 3
    assert all(it.state is State.RUNNING and it.restarts == 0 and it.reason == "" for it in view.instances)
    assert all(it.since > 1_500_000_000 and it.machine for it in view.instances)
    assert await substrate.explain(RUNNER) == ()


async def test_scaling_down_leaves_the_others_as_they_are(substrate: Any) -> None:
    """Nothing is restarted by it."""
    await substrate.scale(RUNNER, 3, 1)
    before = await settled(substrate, 3)
    assert (await substrate.scale(RUNNER, 1, 1)).result is Result.TAKEN
    after = await settled(substrate, 1)
    assert len(starts(after)) == 1
    assert starts(after) < starts(before)


async def test_scaling_down_lets_instances_finish(world: World, substrate: Any) -> None:
    """Also those that nobody chose; meanwhile they are listed as draining, and explained."""
    await substrate.scale(RUNNER, 1, 1)
    (only,) = (await settled(substrate, 1)).instances
    await world.up(only)
    world.hold(only)
    await substrate.scale(RUNNER, 0, 1)
    view = await seen(substrate, RUNNER, lambda view: bool(view.of(State.DRAINING)))
    assert (view.wanted, view.settled, starts(view, State.DRAINING)) == (0, False, {(only.id, only.start)})
    assert only.id in (await substrate.explain(RUNNER))[0]
    world.release(only)
    await settled(substrate, 0)
    assert world.finished(only)


async def test_scaling_to_zero_leaves_nothing(substrate: Any) -> None:
    """And back again brings new instances: no id is used twice."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    await substrate.scale(RUNNER, 0, 1)
    view = await settled(substrate, 0)
    assert view.of(State.RUNNING, State.PENDING, State.DRAINING, State.FAILED, State.UNKNOWN) == ()
    await substrate.scale(RUNNER, 2, 1)
    after = await settled(substrate, 2)
    assert {it[0] for it in starts(after)}.isdisjoint(it[0] for it in starts(before))


async def test_asking_for_the_same_number_again_changes_nothing(substrate: Any) -> None:
    """The same instances run on."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    assert await substrate.scale(RUNNER, 2, 1) == Outcome(Result.DONE)
    assert starts(await settled(substrate, 2)) == starts(before)


async def test_draining_instances_do_not_count(world: World, substrate: Any) -> None:
    """Scaling up while one drains starts another at once, and the one that drains is not called back."""
    await substrate.scale(RUNNER, 1, 1)
    (first,) = (await settled(substrate, 1)).instances
    await world.up(first)
    world.hold(first)
    await substrate.scale(RUNNER, 0, 1)
    await substrate.scale(RUNNER, 1, 1)
    view = await seen(substrate, RUNNER, lambda view: bool(view.of(State.RUNNING) and view.of(State.DRAINING)))
    assert starts(view, State.DRAINING) == {(first.id, first.start)}
    world.release(first)
    (second,) = (await settled(substrate, 1)).of(State.RUNNING)
    assert second.id != first.id


async def test_numbers_asked_for_at_the_same_time_end_as_one_of_them(substrate: Any) -> None:
    """No two changes mix."""
    await asyncio.gather(*(substrate.scale(RUNNER, count, 1) for count in (1, 3, 2)))
    wanted = (await substrate.look(RUNNER)).wanted
    assert wanted in (1, 2, 3)
    await settled(substrate, wanted)


async def test_components_are_scaled_apart(substrate: Any) -> None:
    """One knows nothing of the other."""
    await substrate.scale(RUNNER, 1, 1)
    await settled(substrate, 1)
    assert (await substrate.look(BROKEN)).wanted == 0
    assert (await substrate.look(BROKEN)).instances == ()


async def test_a_component_that_is_not_known_is_an_error_that_names_it(substrate: Any) -> None:
    """It is not one with nothing running."""
    for asking in (substrate.look("runer"), substrate.scale("runer", 1, 1), substrate.explain("runer")):
        with pytest.raises(NotFound, match="runer"):
            await asking


async def test_a_number_below_zero_is_refused(world: World, substrate: Any) -> None:
    """Before anybody is asked."""
    with pytest.raises(ValueError, match="-1"):
        await substrate.scale(RUNNER, -1, 1)
    assert world.changes == 0


# failures


async def test_a_component_that_fails_is_reported_with_its_reason_and_does_not_hide(substrate: Any) -> None:
    """It is tried again and stays wanted, and what it wrote last is told."""
    await substrate.scale(BROKEN, 2, 1)
    await substrate.scale(RUNNER, 1, 1)
    view = await seen(
        substrate,
        BROKEN,
        lambda view: len(view.of(State.FAILED)) == 2 and all(it.restarts >= 2 for it in view.instances),
    )
    assert (view.wanted, view.settled) == (2, False)
    for it in view.instances:
        assert "7" in it.reason
        assert "no such luck" in it.reason
    told = await substrate.explain(BROKEN)
    for it in view.instances:
        assert any(it.id in sentence and "no such luck" in sentence for sentence in told), told
    await settled(substrate, 1)


async def test_a_component_that_fails_can_be_scaled_away(substrate: Any) -> None:
    """Nothing of it is tried again, and nothing is left to explain."""
    await substrate.scale(BROKEN, 2, 1)
    await seen(substrate, BROKEN, lambda view: len(view.of(State.FAILED)) == 2)
    await substrate.scale(BROKEN, 0, 1)
    await settled(substrate, 0, BROKEN)
    assert await substrate.explain(BROKEN) == ()


async def test_a_killed_instance_is_replaced_and_the_others_run_on(world: World, substrate: Any) -> None:
    """By another start, of the same instance or of a new one."""
    await substrate.scale(RUNNER, 3, 1)
    before = await settled(substrate, 3)
    victim = before.instances[1]
    await world.kill(victim)
    after = await seen(substrate, RUNNER, lambda view: view.settled and (victim.id, victim.start) not in starts(view))
    assert len(starts(after)) == 3
    assert len(starts(after) - starts(before)) == 1


async def test_what_cannot_be_read_is_not_taken_for_nothing(world: World, substrate: Any) -> None:
    """`look` raises, `explain` says so, and nothing happens to what runs."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    world.blind()
    with pytest.raises(SubstrateAway):
        await substrate.look(RUNNER)
    assert await substrate.explain(RUNNER) != ()
    world.see()
    assert starts(await settled(substrate, 2)) == starts(before)


# late outcomes


async def test_what_cannot_be_started_now_is_late_and_comes_without_being_asked_for_again(
    world: World, substrate: Any
) -> None:
    """Meanwhile the number is on record, is not settled, and is explained."""
    world.jam()
    assert (await substrate.scale(RUNNER, 2, 1)).result is Result.TAKEN
    await explained(substrate)
    view = await substrate.look(RUNNER)
    assert (view.wanted, view.settled, view.of(State.RUNNING)) == (2, False, ())
    world.free()
    await settled(substrate, 2)
    assert world.changes == 1


async def test_taking_back_what_could_not_be_started_leaves_what_runs(world: World, substrate: Any) -> None:
    """Those that do not run go first: a lower number over a scale-up that is stuck ends nothing that runs."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    world.jam()
    await substrate.scale(RUNNER, 4, 1)
    await explained(substrate)
    await substrate.scale(RUNNER, 2, 1)
    assert starts(await settled(substrate, 2)) == starts(before)
    world.free()
    assert starts(await settled(substrate, 2)) == starts(before)


async def explained(substrate: Any) -> None:
    """Wait until there is something to explain."""
    async with asyncio.timeout(PATIENCE):
        while not await substrate.explain(RUNNER):  # noqa: ASYNC110  # nothing tells when
            await asyncio.sleep(0.02)


# outcomes that are not known


async def test_a_change_whose_answer_was_lost_is_of_unknown_outcome(world: World, substrate: Any) -> None:
    """It is neither an error nor a success."""
    world.lose_answer(substrate, taken=True)
    outcome = await substrate.scale(RUNNER, 1, 1)
    assert outcome.result is Result.UNKNOWN
    assert outcome.why


async def test_an_unknown_outcome_is_looked_up_and_not_asked_again_if_it_was_taken(
    world: World, substrate: Any
) -> None:
    """One change reaches the substrate, and it does its work."""
    world.lose_answer(substrate, taken=True)
    assert (await ensure(substrate, RUNNER, 2, 1)).result is Result.TAKEN
    assert world.changes == 1
    await settled(substrate, 2)


async def test_an_unknown_outcome_is_asked_again_if_it_was_not_taken(world: World, substrate: Any) -> None:
    """Once."""
    world.lose_answer(substrate, taken=False)
    assert (await ensure(substrate, RUNNER, 2, 1)).result is Result.TAKEN
    assert world.changes == 2
    await settled(substrate, 2)


async def test_what_is_on_record_is_not_asked_for_again(world: World, substrate: Any) -> None:
    """`ensure` looks first."""
    await ensure(substrate, RUNNER, 1, 1)
    assert await ensure(substrate, RUNNER, 1, 1) == Outcome(Result.DONE)
    assert world.changes == 1


async def test_nothing_is_asked_for_while_nothing_can_be_read(world: World, substrate: Any) -> None:
    """Unknown figures change nothing."""
    await ensure(substrate, RUNNER, 2, 1)
    before = await settled(substrate, 2)
    world.blind()
    with pytest.raises(SubstrateAway):
        await ensure(substrate, RUNNER, 0, 1)
    world.see()
    assert world.changes == 1
    assert starts(await settled(substrate, 2)) == starts(before)


# the next client


async def test_another_client_sees_and_manages_the_same_instances(world: World, substrate: Any) -> None:
    """As a Tron does that takes over the lead."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    other = await world.client()
    assert starts(await settled(other, 2)) == starts(before)
    await other.scale(RUNNER, 3, 2)
    after = await settled(other, 3)
    assert starts(after) > starts(before)
    assert starts(await settled(substrate, 3)) == starts(after)


async def test_instances_outlive_their_client_and_the_next_one_replaces_those_that_die(
    world: World, substrate: Any
) -> None:
    """After it has scaled to the number on record, as a new leader does."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    await substrate.close()
    other = await world.client()
    assert starts(await settled(other, 2)) == starts(before)
    await other.scale(RUNNER, (await other.look(RUNNER)).wanted, 2)
    victim = before.instances[0]
    await world.kill(victim)
    after = await seen(other, RUNNER, lambda view: view.settled and (victim.id, victim.start) not in starts(view))
    assert len(starts(after) & starts(before)) == 1


async def test_what_died_while_nobody_looked_is_replaced_by_the_next_client(world: World, substrate: Any) -> None:
    """As after a Tron and a Runner were killed together."""
    await substrate.scale(RUNNER, 2, 1)
    before = await settled(substrate, 2)
    await substrate.close()
    other = await world.client()
    await world.kill(before.instances[0])
    await other.scale(RUNNER, 2, 2)
    after = await seen(other, RUNNER, lambda view: view.settled and starts(view) != starts(before))
    assert len(starts(after) & starts(before)) == 1


async def test_a_client_can_be_closed_twice(substrate: Any) -> None:
    """Closing is idempotent."""
    await substrate.close()
    await substrate.close()


# Drains


async def test_the_chosen_instance_finishes_and_it_alone_goes(world: World, drains: Any) -> None:
    """The wanted number is one lower at once, so it is not replaced."""
    await drains.scale(RUNNER, 3, 1)
    before = await settled(drains, 3)
    chosen = before.instances[0]
    await world.up(chosen)
    world.hold(chosen)
    assert (await drains.drain(RUNNER, chosen.id, 1)).result is Result.TAKEN
    view = await seen(drains, RUNNER, lambda view: bool(view.of(State.DRAINING)))
    assert view.wanted == 2
    assert starts(view, State.DRAINING) == {(chosen.id, chosen.start)}
    assert starts(view) == starts(before) - {(chosen.id, chosen.start)}
    assert not world.finished(chosen)
    world.release(chosen)
    after = await settled(drains, 2)
    assert world.finished(chosen)
    assert starts(after) == starts(before) - {(chosen.id, chosen.start)}


async def test_draining_the_same_again_takes_no_second_one(world: World, drains: Any) -> None:
    """While it drains and after it has gone."""
    await drains.scale(RUNNER, 3, 1)
    chosen = (await settled(drains, 3)).instances[0]
    await world.up(chosen)
    world.hold(chosen)
    await drains.drain(RUNNER, chosen.id, 1)
    assert await drains.drain(RUNNER, chosen.id, 1) == Outcome(Result.DONE)
    world.release(chosen)
    await settled(drains, 2)
    assert await drains.drain(RUNNER, chosen.id, 1) == Outcome(Result.DONE)
    assert await drains.drain(RUNNER, "never-was", 1) == Outcome(Result.DONE)
    await settled(drains, 2)


@pytest.mark.parametrize("taken", [True, False])
async def test_a_drain_whose_answer_was_lost_takes_exactly_one(world: World, drains: Any, taken: bool) -> None:
    """It is looked up before it is asked for again."""
    await drains.scale(RUNNER, 3, 1)
    before = await settled(drains, 3)
    chosen = before.instances[2]
    world.lose_answer(drains, taken=taken)
    assert (await ensure_drained(drains, RUNNER, chosen.id, 1)).result is Result.TAKEN
    assert world.changes == (2 if taken else 3)
    after = await settled(drains, 2)
    assert starts(after) == starts(before) - {(chosen.id, chosen.start)}


async def test_a_failing_instance_can_be_drained(drains: Any) -> None:
    """There is nothing that it could finish."""
    await drains.scale(BROKEN, 2, 1)
    view = await seen(drains, BROKEN, lambda view: len(view.of(State.FAILED)) == 2)
    await drains.drain(BROKEN, view.instances[0].id, 1)
    view = await seen(drains, BROKEN, lambda view: len(view.of(State.FAILED, State.PENDING)) == 1)
    assert view.wanted == 1


# Fences


async def test_changes_under_an_older_epoch_are_refused(fences: Any) -> None:
    """An old leader that was paused and wakes up changes nothing."""
    assert await fences.epoch(RUNNER) == 0
    await fences.scale(RUNNER, 2, 7)
    before = await settled(fences, 2)
    with pytest.raises(NotLeader, match="7"):
        await fences.scale(RUNNER, 0, 6)
    with pytest.raises(NotLeader, match="7"):
        await ensure(fences, RUNNER, 0, 6)
    if isinstance(fences, Drains):
        with pytest.raises(NotLeader, match="7"):
            await fences.drain(RUNNER, before.instances[0].id, 6)
    assert await fences.epoch(RUNNER) == 7
    assert starts(await settled(fences, 2)) == starts(before)
    await fences.scale(RUNNER, 1, 7)
    await settled(fences, 1)


async def test_a_new_leader_shuts_out_its_predecessor_by_asking_for_the_same_number(world: World, fences: Any) -> None:
    """That is what a leader does first."""
    await fences.scale(RUNNER, 1, 1)
    other = await world.client()
    assert (await ensure(other, RUNNER, 1, 2)).result is Result.DONE
    assert await fences.epoch(RUNNER) == 2
    with pytest.raises(NotLeader):
        await fences.scale(RUNNER, 0, 1)
    await settled(other, 1)


# Usage


async def test_the_figures_of_each_running_instance_are_known(world: World, usage: Any) -> None:
    """By id, and only of those that are there."""
    await usage.scale(RUNNER, 2, 1)
    view = await settled(usage, 2)
    for it in view.instances:
        await world.up(it)
    figures = await usage.usage(RUNNER)
    assert {(name, it.start) for name, it in figures.items()} == starts(view)
    assert all(it.cpu_seconds >= 0 and it.resident_bytes > 100_000 for it in figures.values())
    again = await usage.usage(RUNNER)
    assert all(again[name].cpu_seconds >= it.cpu_seconds for name, it in figures.items())
    await usage.scale(RUNNER, 0, 1)
    await settled(usage, 0)
    assert await usage.usage(RUNNER) == {}


async def test_the_machines_that_instances_run_on_are_known(usage: Any) -> None:
    """What they have, and what is used of it."""
    await usage.scale(RUNNER, 1, 1)
    (instance,) = (await settled(usage, 1)).instances
    machine = (await usage.machines())[instance.machine]
    assert machine.cores > 0
    assert machine.cpu_seconds > 0
    assert 0 < machine.available_bytes <= machine.memory_bytes
