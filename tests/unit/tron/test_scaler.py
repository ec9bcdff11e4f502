"""The loop that scales: what Runners are told, what the substrate is asked for, what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from funcatron.brokers.base import Depth
from funcatron.errors import NotFound, NotLeader, StoreError
from funcatron.stores.change import Change
from funcatron.stores.records import BundleRecord, Deployment, Version
from funcatron.stores.scaling import Scaling
from funcatron.substrates.base import State
from funcatron.tron import journal, retirements
from funcatron.tron import scaler as scaler_module
from funcatron.tron.allocations import REFLECTED, REPEAT
from funcatron.tron.firehose import FirehoseGauge
from funcatron.tron.scaler import AWAKENED, PATIENCE, SETTLE, SOONER
from funcatron.tron.scaling import Firehose
from tests.unit.tron.conftest import until
from tests.unit.tron.scaler_stage import Stage, sha_of


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A leadership that has just begun, with three Runners at most."""
    made = Stage(tmp_path, runners_max=3)
    await made.open()
    yield made
    await made.close()


async def serving(stage: Stage, count: int = 1, own: dict[str, Any] | None = None) -> str:
    """A Func with so many instances on one Runner, after the first seconds."""
    queue = stage.deploy("a", **(own or {}))
    runner = stage.runner("r1")
    stage.have(runner, queue, count)
    stage.work(runner, queue, 1)
    await stage.settle()
    return queue


async def busy(stage: Stage, queue: str, rate: int, seconds: int, **figures: Any) -> None:
    """So many calls a second, shared by the Runners that have hosts; they do as they are told."""
    for _ in range(seconds):
        having = [runner for runner in stage.runners.values() if runner.funcs.get(queue, {}).get("hosts")]
        for runner in having:
            stage.work(runner, queue, rate // len(having), **figures)
        await stage.second()
        stage.obey()


# ---------------------------------------------------------------------- the beginning


async def test_nobody_is_told_anything_before_the_runners_have_told_what_they_have(stage: Stage) -> None:
    queue = stage.deploy("a")
    one, two = stage.runner("r1"), stage.runner("r2")
    stage.have(one, queue, 2)
    await stage.second(int(SETTLE) + 1, silent=frozenset({"r2"}))
    assert stage.outbox.allocations == []
    stage.have(two, queue, 1)
    await stage.second()
    assert stage.outbox.last("r1") == {queue: (2, False)}
    assert stage.outbox.last("r2") == {queue: (1, False)}


async def test_a_runner_that_tells_nothing_is_left_alone_after_a_while(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.have(stage.runner("r1"), queue, 2)
    stage.runner("older")
    await stage.second(int(PATIENCE) + 1, silent=frozenset({"older"}))
    assert stage.outbox.last("r1") == {queue: (2, False)}
    assert stage.outbox.last("older") is None


async def test_a_new_leader_takes_nothing_away_in_the_first_window(stage: Stage) -> None:
    queue = await serving(stage, 5)
    await busy(stage, queue, 20, 10)
    assert stage.instances(queue) == 5
    await busy(stage, queue, 20, 10)
    assert stage.instances(queue) < 5


# ---------------------------------------------------------------------- Runners


async def test_a_runner_is_told_its_share_again_now_and_then(stage: Stage) -> None:
    queue = await serving(stage)
    await busy(stage, queue, 4, int(REPEAT) * 2)
    assert [shares for _, shares in stage.outbox.allocations] == [{queue: (1, False)}] * 3


async def test_more_calls_get_more_instances_at_once(stage: Stage) -> None:
    queue = await serving(stage)
    runner = stage.runners["r1"]
    await busy(stage, queue, 10, 3)
    stage.work(runner, queue, 200)
    stage.depths[queue] = Depth(40, 8)
    await stage.second()
    assert stage.instances(queue) >= 5
    func = stage.scaler.decision.funcs[queue] if stage.scaler.decision else None
    assert func is not None
    assert func.inputs.arrival_rate == pytest.approx(240, abs=1)
    assert func.inputs.ready == 40


async def test_what_was_told_a_moment_ago_is_not_told_to_another_runner_as_well(stage: Stage) -> None:
    queue = await serving(stage)
    stage.runner("r2")
    await stage.second()
    stage.work(stage.runners["r1"], queue, 300)
    await stage.second()
    told = stage.instances(queue)
    stage.work(stage.runners["r1"], queue, 300)
    await stage.second()
    assert stage.instances(queue) == told


async def test_a_func_that_sleeps_has_one_waker(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.runner("r1"), stage.runner("r2")
    await stage.settle()
    shares = [stage.outbox.last(name) for name in ("r1", "r2")]
    assert sorted(len(each or {}) for each in shares) == [0, 1]
    assert {queue: (0, True)} in shares


async def test_the_host_that_a_waker_starts_counts_before_it_is_told(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.runner("r1"), stage.runner("r2")
    await stage.settle()
    waker = next(name for name in ("r1", "r2") if stage.outbox.last(name))
    stage.depths[queue] = Depth(3, 0)
    await stage.second()
    assert stage.outbox.last(waker) == {queue: (1, True)}
    assert stage.instances(queue) == 1


async def test_a_waker_that_starts_nothing_is_not_relied_upon(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.runner("r1"), stage.runner("r2")
    await stage.settle()
    waker = next(name for name in ("r1", "r2") if stage.outbox.last(name))
    stage.runners[waker].short = True
    stage.depths[queue] = Depth(3, 0)
    await stage.second(int(AWAKENED) + 2)
    other = "r1" if waker == "r2" else "r2"
    assert stage.outbox.last(other) == {queue: (1, True)}


async def test_unknown_depths_change_nothing(stage: Stage) -> None:
    queue = await serving(stage, 2)
    await busy(stage, queue, 30, 20)
    before = stage.instances(queue)
    stage.depths[queue] = None
    await busy(stage, queue, 0, 90)
    assert stage.instances(queue) == before > 0


async def test_a_silent_runner_is_told_nothing_and_others_take_over(stage: Stage) -> None:
    queue = await serving(stage, 3)
    stage.runner("r2")
    await busy(stage, queue, 80, 3)
    told = len([name for name, _ in stage.outbox.allocations if name == "r1"])
    for _ in range(8):
        stage.have(stage.runners["r2"], queue, (stage.outbox.last("r2") or {}).get(queue, (0, False))[0])
        await stage.second(silent=frozenset({"r1"}))
    assert len([name for name, _ in stage.outbox.allocations if name == "r1"]) == told
    assert (stage.outbox.last("r2") or {})[queue][0] >= 3


async def test_a_runner_that_comes_hears_at_once_that_nothing_is_shared_out_to_it_yet(stage: Stage) -> None:
    await serving(stage)
    stage.runner("r2")
    assert stage.outbox.last("r2") == {}


async def test_a_runner_that_comes_back_hears_what_it_was_told(stage: Stage) -> None:
    queue = await serving(stage)
    count = len(stage.outbox.allocations)
    stage.meet(stage.runners["r1"])
    assert stage.outbox.allocations[count:] == [("r1", {queue: (1, False)})]


async def test_a_runner_that_was_started_anew_has_nothing(stage: Stage) -> None:
    queue = await serving(stage)
    runner = stage.runners["r1"]
    runner.pid, runner.seq, runner.funcs = 2, 0, {}
    stage.meet(runner)
    assert stage.outbox.last("r1") == {}
    stage.depths[queue] = Depth(1, 0)
    await stage.second()
    assert stage.outbox.last("r1") == {queue: (1, True)}


async def test_queues_on_their_way_out_are_worked_off_as_they_are(stage: Stage) -> None:
    queue = await serving(stage, 2)
    await busy(stage, queue, 30, 2)
    told = stage.outbox.last("r1")
    del stage.versions["a"]
    stage.draining[queue] = object()
    await stage.second(2)
    assert stage.outbox.last("r1") == told
    stage.draining.clear()
    await stage.second()
    assert stage.outbox.last("r1") == {}


async def test_a_version_on_its_way_gets_as_many_instances_as_the_one_that_it_replaces(stage: Stage) -> None:
    queue = await serving(stage, 3)
    await busy(stage, queue, 80, 10)
    there = stage.instances(queue)
    new = Version(sha_of("new"), None, "/a")
    old = stage.versions["a"]
    stage.all["a"] = Deployment("a", wanted=new, serving=old, enabled=True, stages=()).at("loading", 0.0)
    bundles = [("a", old), ("a", new)]
    stage.scaler.plane.deployments.bundles = lambda: bundles  # type: ignore[method-assign]
    stage.depths[new.queue("a")] = Depth(0, 0)
    stage.work(stage.runners["r1"], queue, 80)
    await stage.second()
    assert stage.instances(new.queue("a")) == there >= 3


async def test_a_version_that_has_taken_over_between_two_rounds_does_so_as_well(stage: Stage) -> None:
    queue = await serving(stage, 3)
    await busy(stage, queue, 80, 10)
    there = stage.instances(queue)
    stage.versions["a"] = new = Version(sha_of("new"), None, "/a")
    stage.depths[new.queue("a")] = Depth(0, 0)
    stage.runners["r1"].funcs.clear()
    await stage.second()
    assert stage.instances(new.queue("a")) == there >= 3
    stage.obey()
    await stage.second(10)
    assert stage.instances(new.queue("a")) == there


async def test_the_host_that_was_started_to_check_a_new_func_is_kept(stage: Stage) -> None:
    await serving(stage)
    queue = stage.deploy("b")
    await stage.second()
    assert stage.instances(queue) == 1


async def test_what_a_new_leader_finds_is_not_new(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.runner("r1")
    await stage.settle()
    await stage.second(3)
    assert stage.instances(queue) == 0


async def test_what_is_set_of_a_deployments_scaling_holds(stage: Stage) -> None:
    queue = await serving(stage)
    version = stage.versions["a"]
    await stage.registry.add_bundle(BundleRecord(version.sha, "python", "a", None, "/a", 1))
    saved = Deployment("a", version, serving=version, enabled=True)
    await stage.registry.apply(Change(save=saved))
    await stage.registry.set_scaling("a", Scaling(min=4))
    await stage.second(5)
    assert stage.instances(queue) == 4


async def test_figures_of_a_runner_with_all_slots_busy_bring_the_next_round_forward(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = await serving(stage)
    monkeypatch.setattr(scaler_module, "SOONER", 0.01)
    monkeypatch.setattr(scaler_module, "RESTRAINT", 0.0)
    runner = stage.runners["r1"]
    stage.have(runner, queue, 1, at_hosts=4, in_flight=4)
    stage.work(runner, queue, 400)
    stage.now += 0.5
    stage.speak(runner)
    stage.statistics.measured({queue: Depth(500, 4)})
    stage.speak(runner)
    await until(lambda: stage.instances(queue) > 1)


async def test_rounds_are_not_brought_forward_for_what_cannot_grow(stage: Stage) -> None:
    queue = await serving(stage, 1, {"instances": {"max": 1}})
    runner = stage.runners["r1"]
    stage.depths[queue] = Depth(500, 4)
    stage.have(runner, queue, 1, at_hosts=4, in_flight=4)
    await busy(stage, queue, 50, 3)
    await until(lambda: not len(stage.tasks))
    stage.have(runner, queue, 1, at_hosts=4, in_flight=4)
    stage.speak(runner)
    assert len(stage.tasks) == 0


async def test_rounds_have_a_pause_between_them(stage: Stage) -> None:
    await serving(stage)
    rounds = 0
    inner = stage.scaler.round

    async def counted() -> None:
        nonlocal rounds
        rounds += 1
        await inner()

    stage.scaler.round = counted  # type: ignore[method-assign]
    stage.runner("new")
    for _ in range(20):
        stage.speak(stage.runners["new"])
    assert len(stage.tasks) == 1
    await asyncio.sleep(SOONER / 5)
    assert rounds == 0


# ---------------------------------------------------------------------- what is kept


async def test_a_decision_that_says_something_new_is_kept_and_can_be_made_again(stage: Stage) -> None:
    queue = await serving(stage)
    await busy(stage, queue, 10, 3)
    stage.depths[queue] = Depth(100, 4)
    stage.work(stage.runners["r1"], queue, 200)
    await stage.second()
    page = await stage.registry.decisions("a")
    kept = page.items[0]
    assert kept.outputs["instances"] == stage.instances(queue)
    assert kept.outputs["runners"] == {"r1": stage.instances(queue)}
    assert "100 waiting" in kept.sentence
    assert kept.epoch == stage.registry.epoch
    again = journal.replayed(kept)
    assert (again.instances, again.need.reason) == (kept.outputs["instances"], kept.outputs["reason"])


async def test_a_decision_that_says_nothing_new_is_not_kept(stage: Stage) -> None:
    queue = await serving(stage)
    await busy(stage, queue, 5, 10)
    assert (await stage.registry.decisions()).items == ()


async def test_a_registry_that_is_away_keeps_nobody_from_being_told(
    stage: Stage, monkeypatch: Any, caplog: Any
) -> None:
    queue = await serving(stage)

    async def away(*_: Any) -> None:
        raise StoreError("the database is away")

    for name in ("add_decisions", "scalings", "bundle"):
        monkeypatch.setattr(type(stage.registry), name, away)
    stage.depths[queue] = Depth(100, 4)
    await busy(stage, queue, 100, 5)
    assert stage.instances(queue) > 1
    assert "could not be kept" in caplog.text


# ---------------------------------------------------------------------- too deep


async def test_callers_of_a_queue_that_is_too_deep_are_told_to_come_again(stage: Stage) -> None:
    queue = await serving(stage, 1, {"instances": {"max": 1}, "queue-limit": 50})
    stage.depths[queue] = Depth(90, 4)
    await busy(stage, queue, 20, 2)
    assert stage.limits[-1] == {queue: pytest.approx(2, abs=1)}
    await busy(stage, queue, 20, int(REPEAT))
    assert len(stage.limits) == 2
    stage.depths[queue] = Depth(10, 4)
    await busy(stage, queue, 20, 1)
    assert stage.limits[-1] == {}


# ---------------------------------------------------------------------- more and fewer Runners


async def test_the_substrate_learns_who_leads(stage: Stage) -> None:
    stage.runner("r1")
    await stage.settle()
    assert stage.substrate.asked == [("scale", "runner", 0, 7), ("scale", "tron", 0, 7)]


async def test_what_finds_no_room_gets_another_runner(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.have(stage.runner("r1", hosts_limit=2), queue, 1)
    stage.work(stage.runners["r1"], queue, 1)
    await stage.settle()
    stage.depths[queue] = Depth(300, 4)
    await busy(stage, queue, 100, 2)
    assert stage.substrate.asked[-1] == ("scale", "runner", 2, 7)
    stage.runner("runner-x1", hosts_limit=2)
    await busy(stage, queue, 100, 3)
    assert (stage.outbox.last("runner-x1") or {})[queue][0] == 2


async def test_there_are_never_more_runners_than_allowed(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.have(stage.runner("r1", hosts_limit=1), queue, 1)
    stage.work(stage.runners["r1"], queue, 1)
    await stage.settle()
    stage.depths[queue] = Depth(5000, 4)
    await busy(stage, queue, 400, 5)
    assert max(asked[2] for asked in stage.substrate.asked) == 2


async def test_while_nobody_knows_what_the_substrate_has_nothing_is_asked_of_it(stage: Stage) -> None:
    queue = stage.deploy("a")
    stage.have(stage.runner("r1", hosts_limit=1), queue, 1)
    stage.work(stage.runners["r1"], queue, 1)
    await stage.settle()
    asked = len(stage.substrate.asked)
    stage.substrate.away = True
    stage.depths[queue] = Depth(5000, 4)
    await busy(stage, queue, 400, 3)
    assert len(stage.substrate.asked) == asked
    assert stage.instances(queue) == 1


async def test_who_does_not_lead_any_more_stops(stage: Stage) -> None:
    await serving(stage)
    stage.substrate.deposed = True
    with pytest.raises(NotLeader):
        await stage.second()


async def fewer(stage: Stage) -> str:
    """A Func that needed a Runner of the substrate, and does not any more; returns its queue."""
    queue = stage.deploy("a")
    stage.have(stage.runner("r1", hosts_limit=2), queue, 2)
    stage.work(stage.runners["r1"], queue, 1)
    await stage.substrate.scale("runner", 1, 0)
    stage.substrate.asked.clear()
    stage.have(stage.runner("runner-x1", hosts_limit=2), queue, 1)
    await stage.settle()
    return queue


async def test_a_runner_that_is_not_needed_goes_in_order(tmp_path: Path) -> None:
    stage = Stage(tmp_path, runners_max=2, runners_window=20.0)
    await stage.open()
    queue = await fewer(stage)
    await busy(stage, queue, 4, 60)
    assert stage.outbox.last("runner-x1") == {}
    assert ("drain", "runner", "runner-x1", 7) not in stage.substrate.asked or stage.instances(queue) == 1
    await busy(stage, queue, 4, int(REFLECTED) + 2)
    assert stage.substrate.asked[-1] == ("drain", "runner", "runner-x1", 7)
    stage.died(stage.runners["runner-x1"])
    stage.substrate.gone("runner-x1")
    await busy(stage, queue, 4, 5)
    assert stage.scaler.retirements.items() == []
    assert (await stage.substrate.look("runner")).wanted == 0
    assert stage.outbox.dying == []
    await stage.close()


async def test_a_runner_with_calls_in_flight_is_waited_for(stage: Stage) -> None:
    queue = await fewer(stage)
    await stage.scaler.drain_runner("runner-x1")
    await stage.second()
    assert stage.outbox.last("runner-x1") == {}
    stage.have(stage.runners["runner-x1"], queue, 0, in_flight=1, at_hosts=1)
    stage.have(stage.runners["r1"], queue, 3)
    await stage.second(10)
    assert not [asked for asked in stage.substrate.asked if asked[0] == "drain"]
    stage.have(stage.runners["runner-x1"], queue, 0)
    await stage.second(2)
    assert ("drain", "runner", "runner-x1", 7) in stage.substrate.asked


async def test_others_take_over_from_a_runner_that_shall_go(stage: Stage) -> None:
    queue = await serving(stage, 3)
    stage.runner("r2")
    await busy(stage, queue, 80, 2)
    await stage.scaler.drain_runner("r1")
    await stage.second()
    assert stage.outbox.last("r1") == {}
    assert (stage.outbox.last("r2") or {})[queue][0] >= 3


async def test_a_runner_of_somebody_else_is_asked_to_end_itself(stage: Stage) -> None:
    queue = await serving(stage)
    stage.runner("r2")
    await stage.scaler.drain_runner("r1")
    await busy(stage, queue, 0, int(REFLECTED) + 3)
    assert stage.outbox.dying == ["r1"]
    runner = stage.runners["r1"]
    runner.pid, runner.seq, runner.funcs = 2, 0, {}
    stage.meet(runner)
    await busy(stage, queue, 0, 2)
    assert stage.scaler.retirements.items() == []


async def test_an_unknown_runner_cannot_be_drained(stage: Stage) -> None:
    stage.runner("r1")
    with pytest.raises(NotFound, match="r1"):
        await stage.scaler.drain_runner("r11")


async def test_the_next_leader_goes_on_with_what_an_operator_asked_for(stage: Stage) -> None:
    queue = await serving(stage)
    await stage.scaler.drain_runner("r1")
    assert await stage.registry.fact(retirements.FACT) == {"r1": 1}
    runner = stage.runners["r1"]
    stage.lead()
    stage.meet(runner)
    stage.have(stage.runner("r2"), queue, 0)
    await stage.second(5)
    assert stage.outbox.last("r1") == {}
    stage.died(runner)
    await stage.second()
    assert await stage.registry.fact(retirements.FACT) == {}


async def test_a_runner_that_is_needed_after_all_stays(tmp_path: Path) -> None:
    stage = Stage(tmp_path, runners_max=2, runners_window=20.0)
    await stage.open()
    queue = await fewer(stage)
    while not stage.scaler.retirements.ids:
        await busy(stage, queue, 4, 1)
        assert stage.now < 1100
    assert stage.scaler.retirements.ids == {"runner-x1"}
    stage.depths[queue] = Depth(2000, 4)
    stage.work(stage.runners["r1"], queue, 400)
    await stage.second()
    assert stage.scaler.retirements.ids == frozenset()
    await stage.second()
    assert (stage.outbox.last("runner-x1") or {})[queue][0] >= 1
    await stage.close()


async def test_an_instance_that_never_came_up_is_taken_away_first(tmp_path: Path) -> None:
    stage = Stage(tmp_path, runners_max=2, runners_window=1.0)
    await stage.open()
    stage.deploy("a")
    stage.runner("r1")
    await stage.substrate.scale("runner", 1, 0)
    stage.substrate.state("runner-x1", State.FAILED)
    await stage.settle()
    await stage.second(5)
    assert ("drain", "runner", "runner-x1", 7) in stage.substrate.asked
    await stage.close()


async def test_a_runner_that_its_substrate_knows_to_be_down_is_replaced_before_it_is_missed(stage: Stage) -> None:
    queue = await fewer(stage)
    await busy(stage, queue, 60, 2)
    stage.substrate.state("runner-x1", State.FAILED)
    stage.work(stage.runners["r1"], queue, 60)
    await stage.second(2, silent=frozenset({"runner-x1"}))
    assert (stage.outbox.last("r1") or {})[queue][0] >= 2
    assert "runner-x1" not in (stage.scaler.decision.placement.hosts if stage.scaler.decision else {})


async def test_runners_on_one_machine_share_it(stage: Stage) -> None:
    queue = await serving(stage)
    stage.runner("r2")
    await busy(stage, queue, 4, 2)
    decision = stage.scaler.decision
    assert decision is not None
    assert decision.runners.why.startswith("64 MiB and 0.0 cores for hosts need")
    assert "and 1.3 cores at" in decision.runners.why


async def test_a_runner_that_is_missing_is_replaced_after_a_while(stage: Stage) -> None:
    await serving(stage)
    stage.died(stage.runners["r1"])
    await stage.second(5)
    assert stage.substrate.asked[2:] == []
    await stage.second(10)
    assert stage.substrate.asked[-1] == ("scale", "runner", 1, 7)


async def test_a_deep_firehose_gets_more_trons_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"rate": 5000.0}

    def look(*_: Any, **__: Any) -> Firehose:
        return Firehose(1, seen["rate"], 0, 0.0003)

    monkeypatch.setattr(FirehoseGauge, "look", look)
    stage = Stage(tmp_path, trons_max=2)
    await stage.open()
    stage.runner("r1")
    await stage.settle()
    assert stage.substrate.asked[-1] == ("scale", "tron", 1, 7)
    seen["rate"] = 50_000.0
    await stage.second(3)
    assert max(asked[2] for asked in stage.substrate.asked if asked[1] == "tron") == 1
    await stage.close()


async def test_one_tron_stays_one_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FirehoseGauge, "look", lambda *_, **__: Firehose(1, 5000.0, 0, 0.0003))
    stage = Stage(tmp_path)
    await stage.open()
    stage.runner("r1")
    await stage.settle()
    assert [asked for asked in stage.substrate.asked if asked[1] == "tron"] == [("scale", "tron", 0, 7)]
    await stage.close()
