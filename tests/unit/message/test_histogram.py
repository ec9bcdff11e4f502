"""Histograms add up exactly, and say what their library would say."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from ddsketch import DDSketch
from hypothesis import given
from hypothesis import strategies as st

from funcatron.message.histogram import ACCURACY, LEAST, Histogram, below, key, quantiles, value

SHARES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)
durations = st.floats(min_value=LEAST, max_value=1e5, allow_nan=False)


def filled(values: list[float]) -> Histogram:
    made = Histogram()
    made.add(values)
    return made


@given(durations)
def test_a_bin_stands_for_what_is_in_it_within_the_accuracy(seconds: float) -> None:
    """That is DDSketch's promise."""
    assert abs(value(key(seconds)) - seconds) <= ACCURACY * seconds * (1 + 1e-9)


def test_the_key_is_what_the_page_says() -> None:
    """A Runner of another make has the formula only."""
    gamma = math.log(1.02 / 0.98)
    for seconds in (2e-5, 0.0123, 1.0, 7.5, 3600.0):
        assert key(seconds) == math.ceil(math.log(seconds) / gamma)


@given(st.lists(durations, min_size=1, max_size=200))
def test_quantiles_are_those_of_the_library(values: list[float]) -> None:
    """Its sketch of the same values."""
    sketch = DDSketch(ACCURACY)
    for each in values:
        sketch.add(each)
    assert quantiles(filled(values).bins, SHARES) == [sketch.get_quantile_value(share) for share in SHARES]


@given(st.lists(durations, max_size=50), st.lists(durations, max_size=50))
def test_histograms_of_parts_add_up_to_that_of_the_whole(some: list[float], others: list[float]) -> None:
    """To the last count."""
    assert filled(some).bins + filled(others).bins == filled(some + others).bins


def test_nothing_is_lost_of_what_has_no_logarithm() -> None:
    """Waits of 0 are common: clocks tell milliseconds."""
    made = filled([0.0, 0.0, 1e-9])
    assert (made.count, made.bins) == (3, Counter({key(LEAST): 3}))
    assert made.seconds == pytest.approx(1e-9)


def test_it_tells_what_has_changed_with_its_totals() -> None:
    """And nothing twice, unless all is asked for."""
    made = filled([0.1, 0.1, 2.0])
    assert made.tell(full=False) == {"count": 3, "seconds": 2.2, "keys": [key(0.1), key(2.0)], "counts": [2, 1]}
    assert made.tell(full=False) is None
    made.add([2.0])
    assert made.tell(full=False) == {"count": 4, "seconds": 4.2, "keys": [key(2.0)], "counts": [2]}
    assert made.tell(full=True) == {"count": 4, "seconds": 4.2, "keys": [key(0.1), key(2.0)], "counts": [2, 2]}


def test_a_quantile_of_nothing_is_an_error() -> None:
    """It is not 0."""
    with pytest.raises(ValueError, match="nothing"):
        quantiles({3: 0}, (0.5,))


def test_counts_below_bounds_are_right_to_a_bin() -> None:
    """As the buckets of Prometheus need them."""
    rng = random.Random(1)
    values = [rng.lognormvariate(-3, 1) for _ in range(5000)]
    bounds = (0.01, 0.05, 0.25, 5.0, 1000.0)
    for bound, count in zip(bounds, below(filled(values).bins, bounds), strict=True):
        fewest = sum(each <= bound * (1 - 2 * ACCURACY) for each in values)
        most = sum(each <= bound * (1 + 2 * ACCURACY) for each in values)
        assert fewest <= count <= most
    assert below({}, bounds) == [0] * len(bounds)
