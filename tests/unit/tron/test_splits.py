"""Splits: which are refused and why, which request goes where, and when one ends by itself."""

from __future__ import annotations

import random
import uuid
import zlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcatron.errors import BadSettings, Conflict, NotFound
from funcatron.stores.records import Deployment, Guard, Share, Split, Version
from funcatron.tron.routes import Portion, Route, choose
from funcatron.tron.splits import LEAST_ERRORS, Tally, Watch, Wish, compose, newcomer, pick, told, unknown_sha, verdict

A, B, C = (Version(sha * 64, None, "/hello") for sha in "abc")
NOW = Deployment("hello", A, serving=A, stage="routed")
GUARD = Guard(0.05, 60.0)


def route(*percents, sticky=None):
    portions = tuple(Portion(f"q{n}", f"s{n}", percent) for n, percent in enumerate(percents, 1))
    return Route(None, "/a", "q1", "n", "s1", portions, sticky)


# what is asked for


def test_what_serves_comes_first_however_it_was_asked_for():
    split = compose(NOW, Wish((("b", 10), ("a", 90)), "X-User", GUARD), (B, A))
    assert split == Split((Share(A, 90), Share(B, 10)), "x-user", GUARD)
    assert newcomer(NOW, split) == B
    assert told(split) == "90 % aaaaaaaa, 10 % bbbbbbbb, by the header x-user"


@pytest.mark.parametrize(
    ("shares", "versions", "problem"),
    [
        ((("a", 90), ("b", 20)), (A, B), "the shares must be 100 in all, not 90 + 20 = 110"),
        ((("a", 0), ("b", 0)), (A, B), "0 + 0 = 0"),
        ((("a", 101), ("b", -1)), (A, B), "each share must be a whole number from 0 to 100"),
        ((("a", 100),), (A,), "it needs two versions with different SHAs, not aaaaaaaa"),
        ((("a", 50), ("a", 50)), (A, A), "it needs two versions with different SHAs"),
        ((("b", 50), ("c", 50)), (B, C), "aaaaaaaa, which serves hello now, must have a share"),
        ((("a", 50), ("b", 50)), (A, replace(B, base_path="/x")), "both versions must be at one host and base path"),
        ((("a", 50), ("b", 50)), (A, replace(B, sha="a" * 63 + "b")), "begin with the same 8 digits"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_the_reason(shares, versions, problem):
    with pytest.raises(BadSettings) as caught:
        compose(NOW, Wish(shares), versions)
    assert any(problem in one for one in caught.value.problems), caught.value.problems


def test_a_guard_and_a_header_that_make_no_sense_are_all_told_at_once():
    with pytest.raises(BadSettings) as caught:
        compose(NOW, Wish((("a", 50), ("b", 50)), "X User", Guard(1.5, 0.0)), (A, B))
    assert len(caught.value.problems) == 3


def test_a_version_is_picked_by_how_its_sha_begins():
    assert pick("hello", [A, B], "bbbb") == B
    assert pick("hello", [A, B], "BBBBB") == B
    with pytest.raises(NotFound, match="hello serves no version with a SHA that begins with 'cccc': there is aaaaaaaa"):
        pick("hello", [A, B], "cccc")
    with pytest.raises(NotFound, match=r"'bbb' \(4 digits at least\)"):
        pick("hello", [A, B], "bbb")
    with pytest.raises(Conflict, match="fits several versions"):
        pick("hello", [B, replace(B, props={"x": 1})], "bbbb")


def test_an_unknown_sha_is_told_with_the_nearest_one():
    known = ["4f2c81d0" + "0" * 56, "99999999" + "0" * 56]
    assert str(unknown_sha("there is no bundle", "4f2c81d1", known)).endswith("'4f2c81d1': there is 4f2c81d0")
    assert str(unknown_sha("there is no bundle", "4f2c", [])) == (
        "there is no bundle with a SHA that begins with '4f2c'"
    )


# where requests go


def test_a_key_always_goes_where_its_crc_says():
    shared = route(60, 40)
    for key, expected in [
        ("ada", "q1"),
        ("bob", "q1"),
        ("eve", "q2"),
        ("señor", "q2"),
        ("", "q1"),
        ("b4f986c2-65c8-49f8-9ad4-c8b1000005be", "q1"),
        ("b4f986c2-65c8-49f8-9ad4-c8b1000005bf", "q2"),
    ]:  # the same keys and queues as in tests/lua/spec/units_spec.lua
        assert choose(shared, key) == expected, key


@given(st.text(), st.integers(0, 100))
def test_every_key_goes_to_the_first_version_below_its_percentage_and_else_to_the_second(key, percent):
    number = zlib.crc32(key.encode(errors="replace")) % 100
    assert choose(route(percent, 100 - percent), key) == ("q1" if number < percent else "q2")


@given(st.text(), st.integers(0, 99))
def test_who_was_let_in_stays_in_when_more_are(key, percent):
    before, after = choose(route(100 - percent, percent), key), choose(route(99 - percent, percent + 1), key)
    assert (before, after) != ("q2", "q1")


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_request_ids_are_dealt_out_by_the_percentages_also_where_they_are_counted_up(percent):
    shared = route(100 - percent, percent)
    drawn = random.Random(7)
    prefix = str(uuid.UUID(int=drawn.getrandbits(128)))[:24]
    ids = {
        "random": [str(uuid.UUID(int=drawn.getrandbits(128))) for _ in range(20_000)],
        "counted": [f"{prefix}{number:012x}" for number in range(20_000)],
        "users": [f"user-{number}" for number in range(20_000)],
    }
    for kind, keys in ids.items():
        share = Counter(choose(shared, key) for key in keys)["q2"] / len(keys)
        assert share == pytest.approx(percent / 100, abs=0.012), kind


def test_a_route_that_nobody_shares_is_what_it_is():
    plain = Route(None, "/a", "q", "n", "s")
    assert (choose(plain, "x"), plain.queues, plain.to("q")) == ("q", ("q",), plain)
    assert "split" not in plain.as_json()


def test_a_shared_route_is_the_same_after_it_was_told():
    for shared in (route(60, 40), route(60, 40, sticky="x-user"), Route("h", "/", "q", "n", "s")):
        assert Route.of_json(shared.as_json()) == shared
    shared = route(60, 40, sticky="x-user")
    assert shared.queues == ("q1", "q2")
    assert shared.to("q2") == Route(None, "/a", "q2", "n", "s2")


# when it ends by itself


@pytest.mark.parametrize(
    ("old", "new", "ends"),
    [
        (Tally(1000, 0), Tally(100, 6), True),
        (Tally(1000, 0), Tally(100, 5), False),  # as many as are allowed
        (Tally(1000, 60), Tally(100, 6), False),  # what served before fails alike: the cause is another
        (Tally(1000, 59), Tally(100, 6), True),
        (Tally(0, 0), Tally(LEAST_ERRORS, LEAST_ERRORS), True),
        (Tally(0, 0), Tally(LEAST_ERRORS - 1, LEAST_ERRORS - 1), False),  # too few to say anything
        (Tally(1000, 0), Tally(0, 0), False),  # unknown is not bad
    ],
)
def test_a_split_ends_when_the_new_version_fails_more_than_is_allowed_and_than_the_old_one(old, new, ends):
    assert (verdict(GUARD, old, new) is not None) == ends


def test_the_reason_has_the_figures():
    assert verdict(GUARD, Tally(1000, 2), Tally(80, 20)) == (
        "25.0% of 80 answers in 60 s were errors, more than the 5.0% that are allowed, of what served before 0.2%"
    )


def test_errors_are_counted_from_the_beginning_and_only_those_of_the_window():
    watch = Watch(Guard(0.05, 10.0))
    assert watch.look(0.0, Tally(500, 0), Tally(100, 50)) is None  # from before the split
    assert watch.look(1.0, Tally(600, 0), Tally(200, 51)) is None
    assert watch.look(5.0, Tally(900, 0), Tally(300, 56)) is None
    assert watch.look(9.0, Tally(900, 0), Tally(300, 60)) is None
    assert watch.look(14.0, Tally(900, 0), Tally(320, 64)) is not None  # 13 of 120 since 1.0
    fading = Watch(Guard(0.05, 10.0))
    fading.look(0.0, Tally(), Tally())
    fading.look(1.0, Tally(), Tally(100, 5))
    assert fading.look(20.0, Tally(), Tally(200, 9)) is None  # 4 of 100 since 1.0


def test_what_was_answered_5xx_or_buried_is_an_error_and_what_nobody_waited_for_is_nothing():
    counters = {
        "answered:2xx": 80,
        "answered:4xx": 5,
        "answered:5xx": 10,
        "dead-lettered": 4,
        "both": 1,
        "discarded": 6,
        "error:expired": 2,
    }
    assert Tally.of(counters) == Tally(80 + 5 + 10 + 3 + 4, 13)
    assert Tally.of({}) == Tally()
    assert Tally().rate is None
