"""What each Runner was told, and when it is to be told something."""

from __future__ import annotations

from funcatron.tron.allocations import REFLECTED, REPEAT, Allocations, Share, as_json, shares
from funcatron.tron.scaling import Placement

A, B = "func.a.1", "func.b.2"


def test_each_runner_gets_what_was_placed_there_and_what_it_shall_wake() -> None:
    placement = Placement({"r1": {A: 2}, "r2": {A: 1}}, {B: "r2"})
    assert shares(placement, {A: 3}) == {"r1": {A: Share(2)}, "r2": {A: Share(1), B: Share(0, waker=True)}}


def test_the_first_of_those_that_start_hosts_takes_messages_already() -> None:
    placement = Placement({"r2": {A: 1}, "r1": {A: 1}})
    assert shares(placement, {}) == {"r1": {A: Share(1, waker=True)}, "r2": {A: Share(1)}}
    assert shares(placement, {A: 1}) == {"r1": {A: Share(1)}, "r2": {A: Share(1)}}


def test_a_share_is_told_as_the_message_has_it() -> None:
    assert as_json({B: Share(0, waker=True), A: Share(2)}) == [
        {"queue": A, "instances": 2},
        {"queue": B, "instances": 0, "waker": True},
    ]


def test_a_runner_is_told_when_something_changes_and_now_and_then() -> None:
    told = Allocations()
    assert told.due("r1", {}, {}, 0.0)
    told.note("r1", {A: Share(1)}, 0.0)
    assert not told.due("r1", {A: Share(1)}, {A: 1}, 1.0)
    assert told.due("r1", {A: Share(2)}, {A: 1}, 1.0)
    assert told.due("r1", {A: Share(1, waker=True)}, {A: 1}, 1.0)
    assert told.due("r1", {A: Share(1)}, {A: 1}, REPEAT)


def test_a_runner_that_has_what_it_should_not_is_told_again_once_it_had_the_time_to_act() -> None:
    told = Allocations()
    told.note("r1", {A: Share(1)}, 0.0)
    assert not told.due("r1", {A: Share(1)}, {A: 1, B: 1}, REFLECTED - 0.1)
    assert told.due("r1", {A: Share(1)}, {A: 1, B: 1}, REFLECTED)


def test_what_a_report_cannot_show_yet_counts_as_told() -> None:
    told = Allocations()
    assert told.expected("r1", {A: 1}, 0.0) == {A: 1}
    told.note("r1", {A: Share(3)}, 0.0)
    assert told.expected("r1", {A: 1, B: 1}, 1.0) == {A: 3, B: 1}
    told.note("r1", {B: Share(1)}, 2.0)
    assert told.expected("r1", {A: 3}, 3.0) == {B: 1}
    assert told.expected("r1", {A: 3}, 2.0 + REFLECTED) == {A: 3}


def test_a_repetition_is_no_change() -> None:
    told = Allocations()
    told.note("r1", {A: Share(3)}, 0.0)
    told.note("r1", {A: Share(3)}, REPEAT)
    assert told.expected("r1", {A: 1}, REPEAT + 1) == {A: 1}


def test_a_runner_that_is_to_run_nothing_knows_since_when() -> None:
    told = Allocations()
    assert told.told_nothing("r1") is None
    told.note("r1", {A: Share(1)}, 0.0)
    assert told.told_nothing("r1") is None
    told.note("r1", {}, 5.0)
    told.note("r1", {}, 15.0)
    assert told.told_nothing("r1") == 5.0
    told.forget("r1")
    assert (told.told("r1"), told.told_nothing("r1")) == (None, None)
