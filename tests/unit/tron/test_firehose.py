"""How much the Trons have to dispatch."""

from __future__ import annotations

import pytest

from funcatron.tron.firehose import FirehoseGauge


def test_rate_and_cost_are_those_of_the_last_step() -> None:
    gauge = FirehoseGauge()
    first = gauge.look(0.0, mine=1000, all_=3000, cpu=5.0, trons=2, ready=10)
    assert (first.trons, first.arrival_rate, first.ready, first.seconds_per_message) == (2, None, 10, None)
    found = gauge.look(2.0, mine=2000, all_=5000, cpu=5.2, trons=2, ready=110)
    assert found.arrival_rate == pytest.approx(1050.0)
    assert found.seconds_per_message == pytest.approx(0.0002)


def test_a_short_step_says_nothing_new() -> None:
    gauge = FirehoseGauge()
    gauge.look(0.0, mine=0, all_=0, cpu=0.0, trons=1, ready=0)
    gauge.look(1.0, mine=500, all_=500, cpu=0.1, trons=1, ready=0)
    assert gauge.look(1.2, mine=500, all_=500, cpu=0.1, trons=1, ready=0).arrival_rate == 500.0


def test_what_an_idle_tron_uses_is_not_the_cost_of_its_messages() -> None:
    gauge = FirehoseGauge()
    gauge.look(0.0, mine=0, all_=0, cpu=0.0, trons=1, ready=0)
    assert gauge.look(1.0, mine=3, all_=3, cpu=0.1, trons=1, ready=0).seconds_per_message is None


def test_an_unknown_depth_leaves_the_rate_unknown() -> None:
    gauge = FirehoseGauge()
    gauge.look(0.0, mine=0, all_=0, cpu=0.0, trons=1, ready=0)
    assert gauge.look(1.0, mine=200, all_=200, cpu=0.1, trons=1, ready=None).arrival_rate is None


def test_a_tron_that_has_gone_takes_its_count_along() -> None:
    gauge = FirehoseGauge()
    gauge.look(0.0, mine=100, all_=5000, cpu=0.0, trons=2, ready=0)
    assert gauge.look(1.0, mine=200, all_=200, cpu=0.1, trons=1, ready=0).arrival_rate is None
    assert gauge.look(2.0, mine=300, all_=300, cpu=0.2, trons=1, ready=0).arrival_rate == 100.0
