"""Figures, goals, percentiles, the table and the file."""

from __future__ import annotations

import json

import pytest

from benchmarks import figures
from benchmarks.figures import Figure, at_least, at_most, percentile


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1), (1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)],
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(1, 101)), percent) == expected


def test_percentiles_of_one_value_are_that_value() -> None:
    assert {percentile([7.0], percent) for percent in (0, 50, 99, 100)} == {7.0}


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_one_disturbed_round_does_not_move_the_median() -> None:
    assert figures.median([100, 101, 5]) == 100


def test_goals_include_their_bound() -> None:
    assert at_least(0.85).met(0.85)
    assert not at_least(0.85).met(0.849)
    assert at_most(1.4).met(1.4)
    assert not at_most(1.4).met(1.41)


def test_a_figure_without_a_goal_is_neither_met_nor_missed() -> None:
    assert Figure("throughput/echo", 100.0, "req/s").met is None


def test_the_json_has_value_unit_goal_and_whether_it_is_met() -> None:
    text = figures.as_json([Figure("a/b", 0.91234, "ratio", at_least(0.85)), Figure("a/c", 2, "ms")], {"cores": 2})

    assert json.loads(text) == {
        "figures": [
            {"name": "a/b", "value": 0.9123, "unit": "ratio", "goal": "≥ 0.85", "met": True},
            {"name": "a/c", "value": 2, "unit": "ms", "goal": None, "met": None},
        ],
        "machine": {"cores": 2},
    }


@pytest.mark.parametrize(
    ("value", "expected"), [(12345.6, 12346.0), (0.00123456, 0.001235), (0.0, 0.0), (-1.23456, -1.235), (99.999, 100.0)]
)
def test_values_are_rounded_to_what_is_not_noise(value: float, expected: float) -> None:
    assert figures.rounded(value) == expected


def test_the_table_says_which_goals_are_met_and_sets_measures_apart() -> None:
    rows = [
        Figure("speed/direct", 0.9, "ratio", at_least(0.85)),
        Figure("speed/firehose", 0.8, "ratio", at_least(1)),
        Figure("memory/Tron", 51.0, "MB", None, "PSS 40 MB"),
    ]

    lines = figures.table(rows).splitlines()

    assert lines[0].split() == ["figure", "value", "unit", "goal"]
    assert lines[2].split() == ["speed/direct", "0.9", "ratio", "≥", "0.85", "met"]
    assert lines[3].split() == ["speed/firehose", "0.8", "ratio", "≥", "1", "NOT", "MET"]
    assert lines[1] == lines[4] == ""
    assert lines[5].endswith("PSS 40 MB")


def test_writing_makes_the_folder_and_leaves_no_temporary_file(tmp_path) -> None:
    target = tmp_path / "var" / "bench.json"

    figures.write(target, "{}")

    assert target.read_text() == "{}\n"
    assert list(target.parent.iterdir()) == [target]
