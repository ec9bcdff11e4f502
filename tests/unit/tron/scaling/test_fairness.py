"""Fair shares of a capped total."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from funcatron.tron.scaling.fairness import TURN, Cap, Claim, fair_shares
from tests.unit.tron.scaling.worlds import MB, given


@st.composite
def claim_lists(draw: st.DrawFn) -> list[Claim]:
    """Return claims of different Funcs."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        wanted = draw(st.integers(0, 40))
        found.append(
            Claim(
                f"f{number}",
                wanted,
                least=draw(st.integers(0, 3)),
                weight=draw(st.sampled_from((0.5, 1.0, 1.0, 2.0, 5.0))),
                size=draw(st.integers(1, 200)) * MB,
                work=draw(st.booleans()),
                holds=draw(st.booleans()),
                turn=draw(st.floats(0, 100)),
            )
        )
    return found


def shares(cap: int | None, *wanted: int) -> list[int]:
    """Return the shares of equal claims."""
    claims = [Claim(f"f{n}", count) for n, count in enumerate(wanted)]
    return list(fair_shares(claims, Cap(cap), 0.0).values())


def test_without_a_cap_all_get_what_they_want() -> None:
    assert shares(None, 3, 0, 200) == [3, 0, 200]


def test_a_cap_that_suffices_changes_nothing() -> None:
    assert shares(10, 3, 7) == [3, 7]


def test_who_wants_little_gets_it_and_the_others_share_the_rest() -> None:
    assert shares(12, 2, 100, 100) == [2, 5, 5]


def test_what_does_not_divide_goes_by_name() -> None:
    assert shares(10, 100, 100, 100) == [4, 3, 3]


def test_weights_are_the_widths_of_the_vessels() -> None:
    claims = [Claim("heavy", 100, weight=3.0), Claim("light", 100)]
    assert fair_shares(claims, Cap(40), 0.0) == {"heavy": 30, "light": 10}


def test_the_wanted_minimum_comes_before_the_shares_of_others() -> None:
    claims = [Claim("a", 100), Claim("b", 100), Claim("c", 6, least=6)]
    assert fair_shares(claims, Cap(12), 0.0) == {"a": 3, "b": 3, "c": 6}


def test_a_first_instance_comes_before_any_minimum() -> None:
    claims = [Claim("big", 10, least=10, weight=9.0), Claim("small", 5)]
    assert fair_shares(claims, Cap(10), 0.0) == {"big": 9, "small": 1}


def test_a_func_without_work_does_not_keep_one_with_work_from_its_first() -> None:
    claims = [Claim("warm", 1, work=False, holds=True), Claim("called", 1)]
    assert fair_shares(claims, Cap(1), 0.0) == {"warm": 0, "called": 1}


def test_memory_is_a_cap_as_well() -> None:
    claims = [Claim("small", 100, size=10 * MB), Claim("large", 100, size=90 * MB)]
    assert fair_shares(claims, Cap(None, 1000 * MB), 0.0) == {"small": 10, "large": 10}


def test_room_that_a_large_one_cannot_use_goes_to_a_small_one() -> None:
    claims = [Claim("small", 100, size=10 * MB), Claim("large", 100, size=90 * MB)]
    assert fair_shares(claims, Cap(None, 150 * MB), 0.0) == {"small": 6, "large": 1}


def test_too_few_places_are_taken_in_turns() -> None:
    """Three Funcs, one place: each has it for a turn."""
    claims = [Claim(name, 1, holds=name == "a") for name in "abc"]
    had: list[str] = []
    for second in range(int(TURN * 6)):
        given_ = fair_shares(claims, Cap(1), float(second))
        had.append(next(name for name, count in given_.items() if count))
        claims = [
            replace(c, holds=given_[c.queue] > 0, turn=c.turn if c.holds == (given_[c.queue] > 0) else float(second))
            for c in claims
        ]
    assert {name: had.count(name) for name in "abc"} == dict.fromkeys("abc", 2 * TURN)
    assert sum(one != other for one, other in itertools.pairwise(had)) == 5


@given(claim_lists(), st.integers(0, 200))
def test_shares_use_up_the_cap_and_never_exceed_it(claims: list[Claim], cap: int) -> None:
    found = fair_shares(claims, Cap(cap), 100.0)
    assert sum(found.values()) == min(cap, sum(claim.wanted for claim in claims))
    assert all(0 <= found[claim.queue] <= claim.wanted for claim in claims)


@given(claim_lists(), st.integers(0, 200), st.integers(0, 10_000))
def test_neither_of_two_caps_is_exceeded_and_no_room_is_left(claims: list[Claim], cap: int, megabytes: int) -> None:
    found = fair_shares(claims, Cap(cap, megabytes * MB), 100.0)
    used = sum(found[claim.queue] * claim.size for claim in claims)
    assert sum(found.values()) <= cap
    assert used <= megabytes * MB
    for claim in claims:
        if found[claim.queue] < claim.wanted:
            assert sum(found.values()) == cap or used + claim.size > megabytes * MB


@given(claim_lists(), st.integers(0, 200))
def test_nobody_starves(claims: list[Claim], cap: int) -> None:
    found = fair_shares(claims, Cap(cap), 100.0)
    needy = [claim for claim in claims if claim.work and claim.wanted]
    served = sum(found[claim.queue] > 0 for claim in needy)
    assert served >= min(cap, len(needy))
    if served < len(needy):  # then nobody has two
        assert max(found.values()) <= 1


@given(claim_lists(), st.integers(0, 200))
def test_taking_from_one_to_give_to_another_would_not_be_fairer(claims: list[Claim], cap: int) -> None:
    """Max-min fairness, up to one instance: who has more by weight than another with one more would, has a floor."""
    found = fair_shares(claims, Cap(cap), 100.0)
    for poor in claims:
        if found[poor.queue] == poor.wanted:
            continue
        for rich in claims:
            floor = max(min(rich.least, rich.wanted), 1 if rich.work else 0)
            if found[rich.queue] > floor and rich is not poor:
                assert found[rich.queue] / rich.weight <= (found[poor.queue] + 1) / poor.weight + 1e-5


@given(claim_lists(), st.integers(0, 200), st.randoms())
def test_the_order_of_the_claims_does_not_matter(claims: list[Claim], cap: int, rng: object) -> None:
    other = list(claims)
    rng.shuffle(other)  # type: ignore[attr-defined]
    assert fair_shares(other, Cap(cap), 100.0) == fair_shares(claims, Cap(cap), 100.0)


@pytest.mark.parametrize("cap", [Cap(0), Cap(None, 0)])
def test_of_nothing_nobody_gets_anything(cap: Cap) -> None:
    claims = [Claim("a", 3, least=1, size=MB), Claim("b", 2, size=MB)]
    assert fair_shares(claims, cap, 0.0) == {"a": 0, "b": 0}
