"""The arrival rate to plan for."""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st

from funcatron.tron.scaling.arrivals import expected, observe
from tests.unit.tron.scaling.worlds import given, poisson


def test_the_first_figure_is_believed() -> None:
    assert observe(None, 0.0, 12.0, 1.0) == (12.0, 0.0)


def test_chance_is_smoothed_out() -> None:
    rng = random.Random(1)
    level, trend, levels = 20.0, 0.0, []
    for _ in range(300):
        level, trend = observe(level, trend, float(poisson(rng, 20.0)), 1.0)
        levels.append(level)
    assert all(15 < level < 25 for level in levels)


def test_a_step_is_believed_at_once_and_is_no_trend() -> None:
    assert observe(20.0, 0.0, 60.0, 1.0) == (60.0, 0.0)


def test_a_rate_over_a_longer_time_is_more_certain() -> None:
    short, _ = observe(20.0, 0.0, 32.0, 1.0)
    long, _ = observe(20.0, 0.0, 32.0, 10.0)
    assert short < 25
    assert long == 32.0


def test_a_ramp_is_planned_for_ahead() -> None:
    level, trend = 10.0, 0.0
    for second in range(60):
        level, trend = observe(level, trend, 10.0 + second, 1.0)
    assert trend == pytest.approx(1.0, rel=0.1)
    assert expected(level, trend, 10.0) == pytest.approx(level + 10 * trend)


def test_what_falls_is_not_planned_for_ahead() -> None:
    assert expected(50.0, -3.0, 10.0) == 50.0


def test_a_trend_at_most_doubles_the_rate() -> None:
    assert expected(5.0, 100.0, 60.0) == 10.0


def test_two_figures_of_one_moment_change_nothing() -> None:
    assert observe(20.0, 1.0, 500.0, 0.0) == (20.0, 1.0)


@given(
    st.floats(0, 500), st.floats(-50, 50), st.floats(0.1, 60), st.floats(0, 500), st.floats(0, 500), st.floats(0, 60)
)
def test_a_higher_rate_is_never_planned_for_as_a_lower_one(
    level: float, trend: float, passed: float, one: float, other: float, ahead: float
) -> None:
    low, high = (expected(*observe(level, trend, rate, passed), ahead) for rate in sorted((one, other)))
    assert low <= high + 1e-9
