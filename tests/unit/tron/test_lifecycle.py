"""The life of a deployment as a table, and what each move changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from funcatron.errors import Conflict
from funcatron.stores.records import STAGES, Deployment, Draining, Guard, Share, Split, Version
from funcatron.tron import changes
from funcatron.tron.lifecycle import NEW, RETIRED, TABLE, UNDER_WAY, Move, path
from funcatron.tron.ways import Way

A, B, C = (Version(sha * 64, None, "/hello") for sha in "abc")
SPLIT = Split((Share(A, 90), Share(B, 10)), "x-user", Guard(0.05, 60.0))


def routed(version=A, **more):
    return Deployment("hello", version, serving=version, stage="routed", revision=3, **more)


def loading(version=B, serving=A, **more):
    return Deployment("hello", version, serving=serving, stage="loading", revision=4, **more)


def queues(change):
    return {one.queue for one in change.drain}


def events(change):
    return [(one.what, one.outcome, one.sha[0]) for one in change.events]


# the table


def test_every_stage_can_be_reached_and_has_a_way_out():
    stages = {NEW, *STAGES}
    reached = {stage for after in TABLE.values() for through in after.values() for stage in through}
    assert reached == {*STAGES, RETIRED}
    left = {stage for after in TABLE.values() for stage in after}
    assert left == stages


def test_from_every_stage_there_is_a_way_to_be_routed_and_one_to_be_retired():
    def ends(stage):
        return {through[-1] for after in TABLE.values() for start, through in after.items() if start == stage}

    for wanted in ("routed", RETIRED):
        able = {wanted}
        for _ in STAGES:
            able |= {stage for stage in (NEW, *STAGES) if ends(stage) & able}
        assert able >= {NEW, *STAGES}


@pytest.mark.parametrize("stage", sorted(UNDER_WAY))
def test_while_a_version_is_on_its_way_no_other_one_begins_and_its_stage_is_told(stage):
    with pytest.raises(Conflict, match=rf"hello is being deployed with bbbbbbbb \(stage {stage}\)"):
        path("hello", stage, Move.BEGIN, B.sha)
    with pytest.raises(Conflict, match=f"stage {stage}"):
        path("hello", stage, Move.SETTLE, B.sha)


@pytest.mark.parametrize(
    ("stage", "move"), [("routed", Move.SERVE), ("disabled", Move.SETTLE), ("routed", Move.RETIRE), (NEW, Move.FAIL)]
)
def test_a_move_that_the_table_does_not_know_is_refused(stage, move):
    with pytest.raises(Conflict, match=f"hello cannot {move} now: its stage is {stage or 'none yet'}"):
        path("hello", stage, move)


# what moves change


def test_a_new_deployment_is_stored_validated_and_loading_and_its_bundle_has_its_own_time():
    change = changes.begun("hello", None, A, Way("deploy", "ann@laptop", A.sha), stored=5.0, now=9.0)
    assert [(one.stage, one.at) for one in change.save.stages] == [
        ("stored", 5.0),
        ("validated", 9.0),
        ("loading", 9.0),
    ]
    assert (change.save.stage, change.save.serving, change.save.created) == ("loading", None, 9.0)
    assert change.drained == (A.queue("hello"),)  # it may be on its way out, and is wanted again
    assert (events(change), change.who, change.routes) == ([("deploy", "begun", "a")], "ann@laptop", False)


def test_what_served_before_is_drained_once_the_new_version_is_routed():
    change = changes.served(loading(), Way(sha=B.sha), 9.0, "r2: wrong Python")
    assert (change.save.serving, change.save.wanted, change.save.stage) == (B, B, "routed")
    assert [(one.stage, one.detail) for one in change.save.stages] == [("serving", "r2: wrong Python"), ("routed", "")]
    assert queues(change) == {A.queue("hello")}
    assert change.routes
    assert events(change) == [("deploy", "routed", "b")]


def test_the_same_queue_with_other_properties_is_not_drained():
    other = replace(A, props={"color": "blue"})
    change = changes.served(loading(other), Way(sha=A.sha), 9.0, "")
    assert change.save.serving == other
    assert change.drain == ()


def test_a_failure_drains_the_new_queue_and_leaves_what_serves_and_its_routes():
    change = changes.failed(loading(), Way("rollback", sha=B.sha), 9.0, "ImportError: nope")
    assert (change.save.stage, change.save.error, change.save.serving) == ("failed", "ImportError: nope", A)
    assert change.save.stages[-1].detail == ""  # the error is not told twice
    assert queues(change) == {B.queue("hello")}
    assert not change.routes
    assert events(change) == [("rollback", "failed", "b")]


def test_a_split_serves_both_and_what_was_there_stays_what_is_wanted():
    change = changes.served(loading(), Way("split", sha=B.sha, split=SPLIT), 9.0, "")
    assert (change.save.serving, change.save.wanted, change.save.split) == (A, A, SPLIT)
    assert change.save.stages[-1].detail == "90 % aaaaaaaa, 10 % bbbbbbbb, by the header x-user"
    assert change.save.stages[-1].sha == B.sha
    assert change.drain == ()


def test_another_second_version_takes_the_place_of_the_one_before():
    change = changes.served(
        loading(C, split=SPLIT), Way("split", sha=C.sha, split=Split((Share(A, 50), Share(C, 50)))), 9.0, ""
    )
    assert queues(change) == {B.queue("hello")}


def test_a_redeploy_ends_a_split_and_drains_both():
    change = changes.served(loading(C, split=SPLIT), Way(sha=C.sha), 9.0, "")
    assert change.save.split is None
    assert queues(change) == {A.queue("hello"), B.queue("hello")}


def test_a_redeploy_that_fails_leaves_the_split():
    change = changes.failed(loading(C, split=SPLIT), Way(sha=C.sha), 9.0, "x")
    assert change.save.split == SPLIT
    assert queues(change) == {C.queue("hello")}


@pytest.mark.parametrize(("to", "gone"), [(A, B), (B, A)])
def test_of_a_split_either_version_can_get_everything(to, gone):
    change = changes.settled(routed(split=SPLIT), to, Way("promote", "ann"), 9.0)
    assert (change.save.serving, change.save.wanted, change.save.split) == (to, to, None)
    assert queues(change) == {gone.queue("hello")}
    assert events(change) == [("promote", "routed", to.sha[0])]
    assert change.routes


def test_other_percentages_change_the_routes_alone():
    other = Split((Share(A, 50), Share(B, 50)))
    change = changes.settled(routed(split=SPLIT), other, Way("split"), 9.0)
    assert (change.save.split, change.save.serving, change.drain, change.routes) == (other, A, (), True)
    assert change.save.stages[-1].detail == "50 % aaaaaaaa, 50 % bbbbbbbb"


def test_a_split_that_ends_by_itself_says_why_of_both_versions():
    change = changes.settled(routed(split=SPLIT), A, Way("rollback"), 9.0, why="it fails")
    assert [(one.what, one.outcome, one.sha[0], one.detail) for one in change.events] == [
        ("split", "failed", "b", "it fails"),
        ("rollback", "routed", "a", "it fails"),
    ]
    assert change.who == "tron"
    assert change.save.stages[-1].detail == "it fails"


def test_what_is_under_way_is_given_up_for_what_serves():
    change = changes.settled(loading(), A, Way("rollback", "ann"), 9.0, ended="split")
    assert (change.save.stage, change.save.wanted, change.save.serving) == ("routed", A, A)
    assert queues(change) == {B.queue("hello")}
    assert events(change) == [("split", "failed", "b"), ("rollback", "routed", "a")]
    assert change.events[0].detail == "given up by ann"


@pytest.mark.parametrize(("keep", "stage", "what"), [(False, "draining", "undeploy"), (True, "disabled", "disable")])
def test_what_leaves_drains_all_versions_and_what_is_loading(keep, stage, what):
    change = changes.left(loading(C, split=SPLIT), "ann", 9.0, keep=keep)
    assert (change.save.stage, change.save.enabled, change.save.serving, change.save.split) == (
        stage,
        False,
        None,
        None,
    )
    assert queues(change) == {version.queue("hello") for version in (A, B, C)}
    assert (events(change), change.routes) == ([(what, "begun", "c")], True)


def test_a_queue_that_is_gone_is_noted_also_where_its_deployment_is_forgotten():
    gone = Draining(A.queue("hello"), "hello", A.sha, 1.0)
    change = changes.drained(routed(B), gone, 9.0)
    assert (change.save.stage, change.save.stages[-1].stage, change.drained) == ("routed", "drained", (gone.queue,))
    assert changes.drained(None, gone, 9.0).save is None
    retired = changes.retired(replace(routed(), stage="draining"), 9.0)
    assert (retired.remove, events(retired)) == ("hello", [("undeploy", "retired", "a")])
    with pytest.raises(Conflict, match="cannot retire now"):
        changes.retired(routed(), 9.0)
