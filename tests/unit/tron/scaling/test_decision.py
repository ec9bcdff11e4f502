"""Whole decisions: their parts together, their sentences, their records."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from funcatron.errors import BadMessage, NotFound
from funcatron.tron.scaling import (
    Basis,
    Decision,
    FuncPolicy,
    FuncSnapshot,
    Memory,
    RunnerSnapshot,
    ServiceTime,
    Snapshot,
    Totals,
    decide,
    from_json,
    narrowed,
    record,
    replay,
    to_json,
)
from funcatron.tron.scaling.fairness import TURN
from tests.unit.tron.scaling.worlds import GB, MB, decided, func, given, histories, instances, runner

PAGE = Path(__file__).parents[4] / "docs" / "scaling.md"


def why(one: FuncSnapshot, memory: Memory | None = None, at: float = 0.0, **more: object) -> str:
    """Return the sentence of a Func's decision."""
    return decided(one, memory=memory, at=at, **more)[0].funcs[one.queue].why


# ---------------------------------------------------------------------- the parts together


def test_what_is_wanted_is_placed() -> None:
    decision, memory = decided(
        func("a", arrival_rate=50.0, rss=50 * MB), func("b"), runners=(runner("r1"), runner("r2"))
    )
    assert instances("a", decision) == 4
    assert decision.placement.hosts == {"r1": {"func.a": 2}, "r2": {"func.a": 2}}
    assert decision.funcs["func.a"].placed == 4
    assert decision.funcs["func.b"].waker == decision.placement.wakers["func.b"] == memory.wakers["func.b"]


def test_a_greedy_func_leaves_the_others_what_they_need() -> None:
    decision, _ = decided(
        func("greedy", arrival_rate=1000.0, ready=5000, running=10),
        func("modest", arrival_rate=20.0, running=1),
        totals=Totals(max_instances=12),
    )
    assert (instances("greedy", decision), instances("modest", decision)) == (10, 2)


def test_the_memory_of_the_runners_is_shared_as_well() -> None:
    decision, _ = decided(
        func("greedy", arrival_rate=1000.0, running=9, rss=100 * MB),
        func("modest", arrival_rate=10.0, ready=1, rss=100 * MB),
        runners=(runner("r1", {"greedy": 9}, memory_free=100 * MB),),
    )
    assert (instances("greedy", decision), instances("modest", decision)) == (9, 1)
    assert decision.placement.hosts == {"r1": {"func.greedy": 9, "func.modest": 1}}


def test_funcs_that_outnumber_the_places_take_turns() -> None:
    memory, had = Memory(), []
    names = ("a", "b", "c")
    for second in range(int(6 * TURN)):
        funcs = [func(name, arrival_rate=5.0, ready=10, running=int(bool(had) and had[-1] == name)) for name in names]
        decision, memory = decided(*funcs, memory=memory, at=float(second), totals=Totals(max_instances=1))
        had.append(next(name for name in names if instances(name, decision)))
    assert min(had.count(name) for name in names) >= TURN
    assert sum(one != other for one, other in itertools.pairwise(had)) <= 5


def test_an_undeployed_func_leaves_the_memory() -> None:
    memory = decided(func("a"), func("b"))[1]
    assert set(decided(func("a"), memory=memory, at=1.0)[1].funcs) == {"func.a"}


def test_without_runners_instances_are_decided_and_nothing_is_placed() -> None:
    decision, _ = decided(func(arrival_rate=50.0))
    assert instances("f", decision) == 4
    assert decision.funcs["func.f"].placed is None


def test_a_decision_says_whether_it_changes_something() -> None:
    assert decided(func(arrival_rate=50.0, running=1))[0].funcs["func.f"].changed
    assert not decided(func(arrival_rate=50.0, running=3, starting=1))[0].funcs["func.f"].changed


def test_a_thousand_funcs_on_a_hundred_runners_fit_and_settle() -> None:
    def world(at: float, hosts: dict[str, dict[str, int]]) -> Snapshot:
        running = {f"func.f{n}": 0 for n in range(1000)}
        for on in hosts.values():
            for queue, count in on.items():
                running[queue] += count
        funcs = tuple(
            func(f"f{n}", arrival_rate=float(n % 50), rss=60 * MB, running=running[f"func.f{n}"]) for n in range(1000)
        )
        runners = tuple(
            RunnerSnapshot(f"r{n}", on := hosts.get(f"r{n}", {}), 3 * GB - 60 * MB * sum(on.values()), 3 * GB, 4.0, 8.0)
            for n in range(100)
        )
        return Snapshot(at, funcs, runners)

    decision, memory = decide(world(0.0, {}), Memory())
    assert decision.placement.unplaced == {}
    for second in range(1, 4):
        decision, memory = decide(world(float(second), dict(decision.placement.hosts)), memory)
        assert (decision.placement.starts, decision.placement.stops) == (0, 0)
    assert all(60 * MB * sum(on.values()) <= 3 * GB for on in decision.placement.hosts.values())


# ---------------------------------------------------------------------- sentences


def test_a_sentence_says_the_figures_the_formula_and_the_result() -> None:
    one = func(slots=8, arrival_rate=12.0, service_time=ServiceTime(0.8), ready=30, running=1)
    says = "12.0 calls/s × 0.80 s + 30 waiting need 4.9 hosts of 8 slots at 85 %: 5 instances"
    assert why(one) == says
    assert says in PAGE.read_text()


def test_the_page_shows_the_settings_with_their_defaults() -> None:
    page = PAGE.read_text()
    for setting in fields(FuncPolicy):
        default = "–" if setting.default is None else f"{setting.default:g}"
        assert re.search(rf"^\| `{setting.name}` \| {default}( s)? \|", page, re.MULTILINE), setting.name


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"idle": None}, "no call yet: no instance"),
        (
            {"service_time": None, "ready": 3},
            "the service time is unknown: messages wait and no instance is there: 1 instance",
        ),
        (
            {"arrival_rate": None, "ready": None, "unacked": None, "running": 2},
            "the arrival rate, queue depth and number of unacked messages are unknown: nothing changes, 2 instances",
        ),
        (
            {"arrival_rate": None, "running": 1, "policy": FuncPolicy(min=3)},
            "the arrival rate is unknown: 3 instances, the wanted minimum",
        ),
        (
            {"arrival_rate": 1.0, "service_time": ServiceTime(0.01), "slots": 1, "policy": FuncPolicy(warm=2)},
            "1.0 calls/s × 10.0 ms + 0 waiting need 0.1 hosts of 1 slot at 9 %: 2 instances, "
            "kept while the Func is in use",
        ),
        (
            {"arrival_rate": 50.0, "policy": FuncPolicy(max=2)},
            "50.0 calls/s × 0.20 s + 0 waiting need 3.3 hosts of 4 slots at 76 %: 2 instances, the allowed maximum",
        ),
        (
            {"arrival_rate": 5.0, "running": 9},
            "5.0 calls/s × 0.20 s + 0 waiting need 0.5 hosts of 4 slots at 50 %: 9 instances, "
            "as was needed a short time ago",
        ),
        (
            {"arrival_rate": 5.0, "running": 1, "service_time": ServiceTime(0.4, Basis.AT_LEAST)},
            "5.0 calls/s × at least 0.40 s + 0 waiting need 0.9 hosts of 4 slots at 59 %: 1 instance",
        ),
        (
            {"arrival_rate": 50.0, "cpu_per_call": 0.2, "cores_per_instance": 1.0, "slots": 32, "running": 1},
            "50.0 calls/s × 0.20 s with 0.20 s of CPU time each + 0 waiting need 11.1 hosts of 32 slots at 90 %: "
            "12 instances",
        ),
    ],
)
def test_a_sentence_says_what_else_counted(figures: dict[str, object], says: str) -> None:
    assert why(func(**figures)) == says


def test_a_sentence_says_for_how_long_nobody_called() -> None:
    memory = decided(func(arrival_rate=5.0, running=1))[1]
    assert why(func(running=1, idle=75.0), memory, 75.0) == "no call for 75 s: no instance"


def test_a_sentence_says_that_calls_in_flight_hold_instances() -> None:
    memory = decided(func(arrival_rate=0.1, running=1))[1]
    says = "0.0 calls/s × 0.20 s + 0 waiting need 0.0 hosts of 4 slots at 3 %: 3 instances, that many are busy"
    assert why(func(unacked=11, in_flight=11, running=3), memory, 100.0) == says


def test_a_sentence_says_what_a_share_and_a_lack_of_room_took() -> None:
    one = func(arrival_rate=100.0, running=1, rss=100 * MB)
    assert why(one, totals=Totals(max_instances=3)).endswith(": 7 instances, of which its fair share of the total is 3")
    full = (runner("r1", memory_free=250 * MB, leaving_bytes=400 * MB),)
    assert why(one, runners=full).endswith(
        ": 7 instances, of which its fair share of the total is 6, of which 4 found no room on a Runner"
    )


# ---------------------------------------------------------------------- records


@given(histories())
def test_a_record_can_be_decided_again(history: tuple[Snapshot, Memory]) -> None:
    snapshot, memory = history
    decision, _ = decide(snapshot, memory)
    assert replay(record(snapshot, memory, decision)) == decision


@given(histories())
def test_snapshots_memories_and_decisions_survive_json(history: tuple[Snapshot, Memory]) -> None:
    snapshot, memory = history
    decision, after = decide(snapshot, memory)
    for value in (snapshot, memory, decision, after):
        assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


@given(histories())
def test_a_record_of_one_func_can_be_decided_again(history: tuple[Snapshot, Memory]) -> None:
    snapshot, memory = history
    decision, _ = decide(snapshot, memory)
    for queue, found in decision.funcs.items():
        alone = narrowed(snapshot, memory, decision, queue)
        again = replay(record(*alone))
        assert again == alone[2]
        assert again.funcs[queue].need == found.need
        assert again.funcs[queue].instances == found.instances


def test_a_record_of_one_func_is_small_and_says_why() -> None:
    snapshot = Snapshot(
        0.0, tuple(func(f"f{n}", arrival_rate=9.0) for n in range(100)), (runner("r1", memory_free=None),)
    )
    decision, _ = decide(snapshot, Memory())
    text = record(*narrowed(snapshot, Memory(), decision, "func.f7"))
    assert len(text) < 3000
    assert json.loads(text)["why"] == {
        "func.f7": "9.0 calls/s × 0.20 s + 0 waiting need 0.8 hosts of 4 slots at 57 %: 1 instance"
    }


def test_the_record_of_a_func_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotFound, match=r"func\.x"):
        narrowed(Snapshot(0.0), Memory(), Decision(0.0), "func.x")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", '{"snapshot": {}, "memory": {}}', '{"snapshot": {"at": "now"}, "memory": {}}']
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        replay(text)


def test_a_changed_figure_changes_the_replayed_decision() -> None:
    snapshot = Snapshot(0.0, (func(arrival_rate=50.0, running=1),))
    decision, _ = decide(snapshot, Memory())
    other = replace(snapshot, funcs=(func(arrival_rate=500.0, running=1),))
    assert replay(record(other, Memory(), decision)) != decision
