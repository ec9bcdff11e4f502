"""When a lease may be taken over, by clocks that have nothing in common."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from funcatron.stores.lease import BEAT, CALL, LOOK, TTL, Lease, Tenure, Watch, may_take

HELD = Lease("tron-1", "http://one", epoch=3, beat=7)


def test_a_lease_that_is_seen_for_the_first_time_is_not_silent():
    assert not Watch().look(HELD, 1e9, 1e9, TTL)


def test_it_is_silent_once_it_was_seen_alike_for_its_time():
    watch = Watch()
    assert not watch.look(HELD, 0.0, 0.0, 3.0)
    assert not watch.look(HELD, 2.9, 2.9, 3.0)
    assert watch.look(HELD, 3.0, 3.0, 3.0)


def test_a_beat_or_another_epoch_begins_the_time_anew():
    for changed in (Lease("tron-1", "http://one", 3, 8), Lease("tron-2", "http://two", 4, 7)):
        watch = Watch()
        watch.look(HELD, 0.0, 0.0, 3.0)
        assert not watch.look(changed, 5.0, 5.0, 3.0)
        assert not watch.look(changed, 7.9, 7.9, 3.0)
        assert watch.look(changed, 8.0, 8.0, 3.0)


def test_a_slow_database_makes_nobody_silent():
    watch = Watch()
    watch.look(HELD, asked=0.0, got=2.0, ttl=3.0)
    assert not watch.look(HELD, asked=4.9, got=6.0, ttl=3.0)
    assert watch.look(HELD, asked=5.0, got=6.0, ttl=3.0)


def test_who_may_take_it():
    assert may_take(Lease(), "me", silent=False)
    assert may_take(Lease("me", "url", 1, 1), "me", silent=False)
    assert not may_take(HELD, "me", silent=False)
    assert may_take(HELD, "me", silent=True)


def test_a_leader_counts_on_its_lease_from_when_it_asked():
    tenure = Tenure(1, asked=10.0, ttl=3.0)
    assert tenure.holds(12.9)
    assert not tenure.holds(13.0)
    tenure.renewed(12.0)
    tenure.renewed(11.0)  # an answer that was overtaken by a later one
    assert tenure.holds(14.9)
    assert not tenure.holds(15.0)


def test_the_times_let_somebody_else_lead_within_five_seconds():
    assert TTL + 2 * LOOK + BEAT <= 5.0
    assert BEAT + CALL <= TTL  # a beat that is late once does not end a leadership


QUARTERS = st.integers(0, 16).map(lambda number: number / 4)  # times that coincide now and then


@settings(max_examples=1000)
@given(
    beats=st.lists(st.tuples(QUARTERS, QUARTERS), min_size=1, max_size=10),
    looks=st.lists(st.tuples(QUARTERS, QUARTERS), min_size=2, max_size=20),
    shift=st.integers(-(10**6), 10**6),
)
def test_nobody_takes_over_from_a_leader_that_still_counts_on_its_lease(beats, looks, shift):
    """A leader asks for beats after pauses, and each takes some time until it is written. A watcher, whose clock shows
    another time, looks now and then, and gets what was there in the middle of its call. Where its taking over would
    succeed, since the row is still what it saw, the leader's time has ended."""
    written, rows, ends = 0.0, [], []
    for number, (pause, takes) in enumerate(beats):
        asked = written + pause
        written = asked + takes
        rows.append((written, Lease("tron-1", "http://one", 1, number)))
        ends.append(asked + TTL)

    def row(at: float) -> Lease:
        return next((lease for when, lease in reversed(rows) if when <= at), Lease())

    watch, now = Watch(), 0.0
    for pause, takes in looks:
        begun = now + pause + 0.01
        now = begun + takes
        seen = row(begun + takes / 2)
        silent = watch.look(seen, begun + shift, now + shift, TTL)
        if silent and seen.holder is not None and row(now) == seen:
            assert ends[seen.beat] <= now
