"""What people see of a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from funcatron.substrates.base import State
from funcatron.substrates.process import view
from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.record import Entry, Record, Stage

HERE, AWAY = Identity(10, 1), Identity(11, 1)
NOW = view.Now(boot=1000.0, unix=2_000_000_000.0, alive=lambda identity: identity == HERE)
RUNNING = Entry("a", Stage.RUNNING, 990.0, HERE, "key", starts=1)
WAITING = Entry("a", Stage.WAITING, 990.0)
FAILED = replace(WAITING, failures=4, reason="exited with code 3 after 0.1 s", retry_at=1002.5, said=("oh", "no"))
LEAVING = replace(RUNNING, stage=Stage.LEAVING, asking=True, asked=True, deadline=1050.0)
GONE = Entry("a", Stage.GONE, 990.0, reason="was told to end and exited with code 0")


@pytest.mark.parametrize(
    ("entry", "state", "reason"),
    [
        (RUNNING, State.RUNNING, ""),
        (replace(RUNNING, failures=2, reason="x"), State.RUNNING, ""),
        (replace(RUNNING, failures=2, reason="ended", since=999.5), State.PENDING, "just been started again"),
        (replace(RUNNING, process=AWAY), State.FAILED, "not started again yet"),
        (replace(RUNNING, process=AWAY, reason="exited with code 3"), State.FAILED, "exited with code 3"),
        (WAITING, State.PENDING, "about to be started"),
        (FAILED, State.FAILED, "4 times in a row; it is started again in 2.5 s"),
        (LEAVING, State.DRAINING, "finishes"),
        (replace(LEAVING, process=AWAY), State.GONE, "told to end"),
        (GONE, State.GONE, "exited with code 0"),
    ],
)
def test_each_stage_is_a_state_with_its_reason(entry: Entry, state: State, reason: str) -> None:
    made = view.instance(entry, NOW, "here")
    assert made.state is state
    assert reason in made.reason
    assert bool(made.reason) == (state is not State.RUNNING)


def test_an_instance_tells_when_its_state_began_which_start_it_is_and_where() -> None:
    made = view.instance(replace(RUNNING, starts=3), NOW, "here")
    assert (made.since, made.start, made.restarts, made.machine) == (NOW.unix - 10.0, "key", 2, "here")


def test_the_last_lines_of_a_failed_one_are_in_its_reason() -> None:
    assert view.instance(FAILED, NOW, "").reason.endswith("it wrote last:\n  oh\n  no")


def test_those_that_are_gone_are_listed_for_a_while() -> None:
    old = replace(GONE, id="old", since=NOW.boot - view.SHOWN - 1)
    record = Record("runner", "boot", 0, entries=(old, GONE, RUNNING))
    assert [it.id for it in view.view(record, NOW, "").instances] == ["a", "a"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (RUNNING, ()),
        (GONE, ()),
        (replace(RUNNING, failures=2, reason="x", since=900.0), ()),
        (WAITING, ("a is about to be started", "log/a")),
        (FAILED, ("crashes in a loop", "code 3", "log/a", "no")),
        (replace(FAILED, failures=1), ("a exited with code 3",)),
        (replace(RUNNING, failures=1, reason="exited with code 3"), ("runs again since 10.0 s", "code 3")),
        (LEAVING, ("finishes", "since 10 s", "killed in 50 s")),
        (replace(LEAVING, asked=False), ("finishes", "asked again", "in 50 s")),
        (replace(LEAVING, asked=False, asking=False), ("finishes",)),
    ],
)
def test_what_is_not_as_wanted_is_explained(entry: Entry, expected: tuple[str, ...]) -> None:
    said = view.sentences(Record("runner", "boot", entries=(entry,)), NOW, Path("log").joinpath)
    assert len(said) == bool(expected)
    for text in expected:
        assert text in said[0]
