"""What is asked of a substrate, and what while it does not answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from funcatron.errors import NotLeader, SubstrateError
from funcatron.substrates.base import Instance, Outcome, Result, State, Substrate, View
from funcatron.tron.crew import Crew
from tests.unit.tron.scaler_stage import PlayedSubstrate


class Plain(Substrate):
    """One that has no further powers, and answers a scale as it is told to."""

    def __init__(self, instances: Mapping[str, State], result: Result = Result.TAKEN) -> None:
        self.there = tuple(Instance(name, state, 0.0) for name, state in instances.items())
        self.result = result
        self.wanted = len(self.there)
        self.asked: list[int] = []

    async def open(self) -> None:
        """Nothing is to be done."""

    async def close(self) -> None:
        """Nothing is held."""

    async def scale(self, component: str, instances: int, epoch: int) -> Outcome:
        self.asked.append(instances)
        if self.result in (Result.TAKEN, Result.DONE):
            self.wanted = instances
        return Outcome(self.result, "not now")

    async def look(self, component: str) -> View:
        return View(component, self.wanted, self.there)

    async def explain(self, component: str) -> tuple[str, ...]:
        return ()


@pytest.fixture
def played() -> PlayedSubstrate:
    return PlayedSubstrate()


async def test_the_number_on_record_is_confirmed_once(played: PlayedSubstrate) -> None:
    crew = Crew(played, "runner", 7)
    await crew.look()
    await crew.look()
    assert played.asked == [("scale", "runner", 0, 7)]
    assert (crew.wanted, crew.ids, crew.down) == (0, frozenset(), frozenset())


async def test_nothing_is_asked_before_it_is_known_what_there_is(played: PlayedSubstrate) -> None:
    crew = Crew(played, "runner", 7)
    await crew.want(3)
    await crew.remove("runner-x1")
    played.away = True
    assert await crew.look() is None
    await crew.want(3)
    assert played.asked == []
    assert crew.trouble == "runner: nobody knows"


async def test_a_trouble_is_said_once_and_so_is_its_end(
    played: PlayedSubstrate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    crew = Crew(played, "runner", 7)
    played.away = True
    for _ in range(3):
        await crew.look()
    played.away = False
    for _ in range(2):
        await crew.look()
    assert caplog.text.count("nobody knows") == 1
    assert caplog.text.count("answers again") == 1


async def test_a_substrate_that_is_busy_is_asked_again_by_the_next_look() -> None:
    plain = Plain({}, Result.BUSY)
    crew = Crew(plain, "runner", 7)
    assert await crew.look() is None
    assert crew.trouble == "runner: not now"
    plain.result = Result.DONE
    assert await crew.look() is not None
    assert plain.asked == [0, 0]


async def test_the_same_number_is_not_asked_for(played: PlayedSubstrate) -> None:
    crew = Crew(played, "runner", 7)
    await crew.look()
    await crew.want(2)
    await crew.look()
    await crew.want(2)
    assert played.asked[1:] == [("scale", "runner", 2, 7)]
    assert crew.ids == {"runner-x1", "runner-x2"}


async def test_who_is_taken_away_is_chosen_where_the_substrate_can(played: PlayedSubstrate) -> None:
    crew = Crew(played, "runner", 7)
    await crew.look()
    await crew.want(2)
    await crew.look()
    await crew.remove("runner-x1")
    await crew.remove("somebody else's")
    assert played.asked[2:] == [("drain", "runner", "runner-x1", 7)]


async def test_a_substrate_that_cannot_choose_gets_a_lower_number() -> None:
    plain = Plain({"a": State.RUNNING, "b": State.RUNNING})
    crew = Crew(plain, "runner", 7)
    await crew.look()
    await crew.remove("a")
    assert plain.asked == [2, 1]


async def test_those_that_do_not_run_are_known() -> None:
    states = {"a": State.RUNNING, "b": State.FAILED, "c": State.PENDING, "d": State.GONE, "e": State.UNKNOWN}
    crew = Crew(Plain(states), "runner", 7)
    await crew.look()
    assert crew.down == {"b", "c"}
    assert crew.ids == {"a", "b", "c", "e"}


async def test_a_refusal_is_said_and_a_deposition_is_raised(
    played: PlayedSubstrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(played, "runner", 7)
    await crew.look()

    async def refuse(*_: Any) -> Outcome:
        raise SubstrateError("the disk is full")

    monkeypatch.setattr(played, "scale", refuse)
    await crew.want(2)
    assert crew.trouble == "runner cannot be scaled: the disk is full"
    played.deposed = True
    with pytest.raises(NotLeader):
        await crew.look()
