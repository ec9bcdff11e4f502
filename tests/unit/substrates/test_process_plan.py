"""What is to be done about the instances on record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from funcatron.substrates.process import plan
from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.record import Entry, Record, Stage, from_json, to_json

EMPTY = Record("runner", "boot")


def ids(prefix: str = "new") -> Iterator[str]:
    return (f"{prefix}-{number}" for number in count())


def record(*entries: Entry) -> Record:
    return replace(EMPTY, entries=entries, wanted=sum(it.staying for it in entries))


def running(name: str, since: float = 0.0, **fields: object) -> Entry:
    return replace(Entry(name, Stage.RUNNING, since, Identity(100, 1), "k", starts=1), **fields)  # type: ignore[arg-type]


entries = st.builds(
    Entry,
    id=st.just(""),
    stage=st.sampled_from(Stage),
    since=st.floats(0, 100),
    failures=st.integers(0, 5),
    retry_at=st.floats(0, 100),
    asking=st.booleans(),
    asked=st.booleans(),
    deadline=st.floats(0, 100),
)
records = st.lists(entries.map(lambda it: replace(it, asked=it.asked and it.asking)), max_size=40).map(
    lambda them: record(*(replace(it, id=f"e{n}") for n, it in enumerate(them)))
)


@given(st.integers(1, 200), st.floats(0, 1))
def test_the_pause_is_between_half_and_all_of_what_doubles_with_each_failure_up_to_a_limit(
    failures: int, jitter: float
) -> None:
    whole = min(plan.LONGEST_PAUSE, plan.FIRST_PAUSE * 2 ** (failures - 1))
    assert whole / 2 <= plan.pause(failures, jitter) <= whole
    assert plan.pause(failures + 1, jitter) >= plan.pause(failures, jitter)


def test_instances_that_die_together_do_not_start_together() -> None:
    assert len({plan.pause(5, jitter / 10) for jitter in range(10)}) == 10


def test_failures_in_a_row_are_counted_and_one_that_lived_for_long_is_forgiven() -> None:
    one = plan.ended(running("a", since=0.0), "exited with code 1", ("last",), 2.0, 0.0)
    assert (one.stage, one.failures, one.retry_at, one.process.pid) == (Stage.WAITING, 1, 2.0 + plan.FIRST_PAUSE, 0)
    assert (one.reason, one.said) == ("exited with code 1 after 2.0 s", ("last",))
    again = plan.begun(one, "key", ("x",), 3, 10.0, 0)
    assert (again.stage, again.starts, again.key, again.epoch) == (Stage.RUNNING, 2, "key", 3)
    assert plan.ended(again, "x", (), 11.0, 0.0).failures == 2
    assert plan.ended(again, "x", (), 10.0 + plan.FORGIVEN, 0.0).failures == 1


def test_one_that_was_told_to_end_is_gone_for_good_when_it_has() -> None:
    entry = replace(running("a"), stage=Stage.LEAVING, asking=True, asked=True, deadline=60.0)
    gone = plan.ended(entry, "exited with code 0", (), 5.0, 0.0)
    assert (gone.stage, gone.reason) == (Stage.GONE, "was told to end and exited with code 0")
    killed = plan.ended(replace(entry, killed=True), "was killed by SIGKILL", (), 61.0, 0.0)
    assert "within its grace" in killed.reason


@given(records, st.integers(0, 30))
def test_after_resizing_so_many_stay_as_are_wanted(before: Record, wanted: int) -> None:
    after = plan.resized(before, wanted, 100.0, ids().__next__)
    assert len(after.staying) == wanted == after.wanted
    assert len({it.id for it in after.entries}) == len(after.entries)
    kept = {it.id for it in after.staying} & {it.id for it in before.staying}
    assert len(kept) == min(wanted, len(before.staying))
    for it in before.entries:
        if not it.staying:
            assert after.entry(it.id) == it


@given(records)
def test_resizing_to_what_is_wanted_changes_nothing(before: Record) -> None:
    assert plan.resized(before, before.wanted, 100.0, ids().__next__) == before


def test_those_that_do_not_run_go_first_then_failing_then_young_ones() -> None:
    waiting = Entry("waiting", Stage.WAITING, 0.0)
    hopeless = Entry("hopeless", Stage.WAITING, 0.0, failures=4, reason="exited")
    full = record(running("old", 1.0), running("shaky", 2.0, failures=2), running("young", 9.0), waiting, hopeless)
    order = []
    for wanted in range(4, -1, -1):
        after = plan.resized(full, wanted, 10.0, ids().__next__)
        order += [it.id for it in full.staying if not after.entry(it.id).staying and it.id not in order]  # type: ignore[union-attr]
    assert order == ["hopeless", "waiting", "shaky", "young", "old"]


def test_one_that_has_no_process_is_gone_at_once_and_keeps_its_reason() -> None:
    after = plan.resized(record(Entry("a", Stage.WAITING, 0.0, reason="exited with code 1 after 0.1 s")), 0, 9.0, str)
    assert after.entries[0].stage is Stage.GONE
    assert "exited with code 1" in after.entries[0].reason


@given(records, st.integers(0, 45))
def test_taking_one_away_lowers_the_wanted_number_only_if_it_stays(before: Record, number: int) -> None:
    name = f"e{number}"
    after = plan.without(before, name, 100.0)
    entry = before.entry(name)
    if entry is None or not entry.staying:
        assert after == before
    else:
        assert after.wanted == before.wanted - 1 == len(after.staying)
        assert plan.without(after, name, 101.0) == after
        assert [it for it in after.entries if it.id != name] == [it for it in before.entries if it.id != name]


@given(records, st.floats(0, 200))
def test_steps_that_were_taken_are_not_due_again(before: Record, now: float) -> None:
    due = plan.steps(before, now)
    after = plan.noted(before, due, now, 60.0)
    for name in due.start:
        entry = after.entry(name)
        assert entry is not None
        after = after.with_entry(plan.begun(entry, "key", (), 1, now, 0))
    assert plan.steps(after, now) == plan.Steps()
    wake = plan.wake_at(after)
    assert wake is None or wake > now


@given(records, st.floats(0, 200))
def test_something_is_due_exactly_from_the_time_at_which_one_wakes(before: Record, now: float) -> None:
    wake, due = plan.wake_at(before), plan.steps(before, now)
    if wake is None or now < wake:
        assert (due.start, due.ask, due.kill) == ((), (), ())
    else:
        assert due.start + due.ask + due.kill != ()


def test_one_that_is_to_end_is_asked_once_and_killed_when_its_grace_is_over() -> None:
    before = record(replace(running("a"), stage=Stage.LEAVING))
    due = plan.steps(before, 10.0)
    assert due == plan.Steps(ask=("a",))
    after = plan.told(plan.noted(before, due, 10.0, 60.0), due)
    assert plan.steps(after, 69.9) == plan.Steps()
    assert plan.steps(after, 70.0) == plan.Steps(kill=("a",))


def test_one_that_nobody_knows_whether_it_was_asked_is_asked_again_when_its_grace_is_over_and_not_killed() -> None:
    before = record(replace(running("a"), stage=Stage.LEAVING))
    uncertain = plan.noted(before, plan.steps(before, 10.0), 10.0, 60.0)
    assert plan.steps(uncertain, 69.9) == plan.Steps()
    again = plan.steps(uncertain, 70.0)
    assert again == plan.Steps(ask=("a",))
    after = plan.told(plan.noted(uncertain, again, 70.0, 60.0), again)
    assert plan.steps(after, 129.9) == plan.Steps()
    assert plan.steps(after, 130.0) == plan.Steps(kill=("a",))


def test_only_the_last_ones_that_are_gone_are_kept() -> None:
    full = record(*(Entry(f"g{number}", Stage.GONE, float(number)) for number in range(plan.KEPT + 3)))
    due = plan.steps(full, 0.0)
    assert due.forget == ("g0", "g1", "g2")
    assert len(plan.noted(full, due, 0.0, 1.0).entries) == plan.KEPT


def test_when_all_is_stopped_only_what_lives_even_so_stays_on_record() -> None:
    full = record(running("a"), replace(running("b"), process=Identity(7, 7)), Entry("c", Stage.WAITING, 0.0))
    after = plan.emptied(full, 5.0, lambda identity: identity.pid == 7)
    assert [it.stage for it in after.entries] == [Stage.GONE, Stage.RUNNING, Stage.GONE]
    assert after.wanted == 0


@given(records)
def test_a_record_is_the_same_after_it_was_written_and_read(before: Record) -> None:
    assert from_json(to_json(before)) == before
