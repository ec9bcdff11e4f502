"""What the Registry's values say about themselves."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcatron.errors import BadSettings, Conflict, NotFound
from funcatron.stores.idempotency import AGE, GIVEN_UP, Answer, Kept, verdict
from funcatron.stores.records import Deployment, Guard, Served, Share, Split, Version, earlier
from funcatron.stores.scaling import LONGEST_IDLE, MOST, Scaling

A, B, C = (Version(letter * 64, None, "/hello") for letter in "abc")

# splits


def split(*shares: tuple[Version, object], **more: object) -> Split:
    return Split(tuple(Share(version, percent) for version, percent in shares), **more)


def faults(checked) -> str:
    with pytest.raises(BadSettings) as raised:
        checked.check()
    return str(raised.value)


@given(st.integers(0, 100), st.sampled_from([None, "X-User-Id", "session_id"]))
def test_every_split_of_a_hundred_between_two_versions_is_right(percent, sticky):
    split((A, percent), (B, 100 - percent), sticky=sticky, guard=Guard(0.0, 1.0)).check()


@given(st.integers(-200, 200), st.integers(-200, 200))
def test_no_other_sum_is(one, two):
    made = split((A, one), (B, two))
    right = one + two == 100 and 0 <= one <= 100
    if not right:
        faults(made)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (split(), "two versions with different SHAs, not none"),
        (split((A, 100)), "two versions with different SHAs, not aaaaaaaa"),
        (split((A, 50), (replace(A, props={"x": 1}), 50)), "different SHAs, not aaaaaaaa"),
        (split((A, 30), (B, 30), (C, 40)), "not aaaaaaaa, bbbbbbbb, cccccccc"),
        (split((A, 50.0), (B, 50)), "whole number from 0 to 100"),
        (split((A, True), (B, 99)), "whole number"),
        (split((A, 90), (B, 20)), "100 in all, not 90 + 20 = 110"),
        (split((A, 50), (replace(B, host="h"), 50)), "one host and base path, not at any host/hello and h/hello"),
        (split((A, 50), (B, 50), sticky="a b"), "'a b' is no name of a header"),
        (split((A, 50), (B, 50), sticky=""), "'' is no name of a header"),
        (split((A, 50), (B, 50), guard=Guard(1.0, 60.0)), "error rate must be from 0"),
        (split((A, 50), (B, 50), guard=Guard(0.1, 0.5)), "window must be from 1 to 3600 s"),
    ],
)
def test_a_split_that_cannot_be_says_why(made, says):
    assert says in faults(made)


def test_a_split_is_the_same_after_it_was_json():
    made = split(
        (A, 90), (replace(B, props={"x": [1]}, environment="test"), 10), sticky="X-User", guard=Guard(0.1, 9.0)
    )
    assert Split.of_json(orjson.loads(orjson.dumps(made.as_json()))) == made
    assert Split.of_json(split((A, 1), (B, 99)).as_json()) == split((A, 1), (B, 99))


def test_a_deployment_serves_what_its_split_has():
    assert Deployment("x", A).versions() == ()
    assert Deployment("x", A, serving=A).versions() == (A,)
    both = Deployment("x", B, serving=B, split=split((A, 90), (B, 10)))
    assert both.versions() == (B, A)
    both.check()
    assert "no share" in faults(replace(both, serving=C))
    assert "no share" in faults(replace(both, serving=None))


def test_a_path_is_held_by_what_serves_and_by_what_shall():
    new = replace(B, base_path="/new")
    both = Deployment("x", new, serving=A)
    assert both.claims() == {("", "/hello"), ("", "/new")}
    assert replace(both, stage="failed").claims() == {("", "/hello")}
    assert replace(both, enabled=False, serving=None).claims() == set()


# going back

SERVED = [Served(version, float(-index)) for index, version in enumerate((A, C, B, A))]


@pytest.mark.parametrize(
    ("now", "sha", "found"),
    [(A, None, C), (A, "b", None), (A, "bbbb", B), (A, "BBBBB", B), (C, None, A), (None, None, A), (A, "aaaa", None)],
)
def test_the_version_to_go_back_to(now, sha, found):
    if found is not None:
        assert earlier("x", SERVED, now, sha) == found
    else:
        with pytest.raises(NotFound, match="there are cccccccc, bbbbbbbb"):
            earlier("x", SERVED, now, sha)


def test_the_same_sha_with_other_properties_can_be_gone_back_to():
    old = replace(A, props={"color": "red"})
    assert earlier("x", [Served(A, 2.0), Served(old, 1.0)], A) == old
    assert earlier("x", [Served(A, 2.0), Served(old, 1.0)], A, "aaaa") == old


def test_a_beginning_that_fits_several_shas_is_refused():
    alike = replace(A, sha="aaaa" + "b" * 60)
    with pytest.raises(Conflict, match="fits several versions of x: aaaabbbb, aaaaaaaa"):
        earlier("x", [Served(alike, 2.0), Served(A, 1.0)], B, "aaaa")


# scaling


@given(
    st.builds(
        Scaling,
        min=st.none() | st.integers(0, 10),
        max=st.none() | st.integers(10, MOST),
        target_wait=st.none() | st.floats(0.001, 100),
        warm=st.none() | st.integers(0, 10),
        idle=st.none() | st.floats(0.001, LONGEST_IDLE),
    )
)
def test_sane_settings_are_right(made):
    made.check()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (Scaling(min=3, max=2), "min 3 is over max 2"),
        (Scaling(warm=3, max=2), "warm 3 is over max 2"),
        (Scaling(min=-1), "min must be a whole number from 0"),
        (Scaling(min=True), "min must be a whole number"),
        (Scaling(max=0), "max must be a whole number from 1"),
        (Scaling(max=MOST + 1), "max must be"),
        (Scaling(warm=1.5), "warm must be a whole number"),
        (Scaling(target_wait=0.0), "target-wait must be more than 0"),
        (Scaling(target_wait=float("nan")), "target-wait must be"),
        (Scaling(target_wait="1"), "target-wait must be"),
        (Scaling(idle=float("inf")), "idle must be"),
        (Scaling(idle=-1), "idle must be"),
    ],
)
def test_settings_that_cannot_be_say_why(made, says):
    assert says in faults(made)


def test_every_fault_is_told():
    assert faults(Scaling(min=-1, max=0, target_wait=-1, warm=-1, idle=0)).count("\n- ") == 5


# idempotency keys

DONE = Answer(202, b"{}")


@pytest.mark.parametrize(
    ("kept", "fingerprint", "now", "found"),
    [
        (Kept("p", 1, DONE, 0.0), "p", 1.0, DONE),
        (Kept("p", 1, DONE, 0.0), "q", 1.0, Conflict),
        (Kept("p", 1, DONE, 0.0), "q", AGE + 1, "new"),
        (Kept("p", 1, None, 0.0), "p", 1.0, Conflict),
        (Kept("p", 1, None, 0.0), "p", GIVEN_UP + 1, "again"),
        (Kept("p", 2, None, 0.0), "p", 1.0, "again"),
        (Kept("p", 2, None, 0.0), "q", 1.0, Conflict),
        (Kept("p", 1, DONE, 9.0), "p", 1.0, DONE),  # the clock of another machine
    ],
)
def test_what_a_key_gets(kept, fingerprint, now, found):
    if found is Conflict:
        with pytest.raises(Conflict):
            verdict("k", kept, fingerprint, 1, now)
    else:
        assert verdict("k", kept, fingerprint, 1, now) == found
