"""The command: what it returns, writes and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.figures import Figure, at_least
from benchmarks.lab import Lab
from benchmarks.processes import BenchError


def good(lab: Lab) -> list[Figure]:
    return [Figure("good/ratio", 1.0, "ratio", at_least(1.0))]


def bad(lab: Lab) -> list[Figure]:
    return [Figure("bad/ratio", 0.5, "ratio", at_least(1.0))]


def broken(lab: Lab) -> list[Figure]:
    raise BenchError("nginx does not start")


@pytest.fixture(autouse=True)
def measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MEASURES", {"good": good, "bad": bad, "broken": broken})


@pytest.mark.parametrize(
    ("names", "code", "written"),
    [
        (["good"], 0, ["good/ratio"]),
        (["good", "bad"], 1, ["good/ratio", "bad/ratio"]),
        (["good", "broken", "bad"], 2, ["good/ratio"]),
    ],
)
def test_what_was_measured_is_written_also_when_a_later_measure_fails(
    names: list[str], code: int, written: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "bench.json"
    options = [part for name in names for part in ("--only", name)]

    assert run.main([*options, "--output", str(output)]) == code

    content = json.loads(output.read_text())
    assert [figure["name"] for figure in content["figures"]] == written
    assert content["machine"]["cores"] >= 1
    assert "nginx" in content["machine"]["versions"]


def test_nothing_is_written_when_nothing_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench.json"

    assert run.main(["--only", "broken", "--output", str(output)]) == 2

    assert not output.exists()
    assert "nginx does not start" in capsys.readouterr().err


def test_json_prints_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench.json"

    run.main(["--only", "good", "--json", "--output", str(output)])

    assert json.loads(capsys.readouterr().out) == json.loads(output.read_text())
