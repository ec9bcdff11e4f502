"""Values as JSON and back."""

from __future__ import annotations

import pytest

from funcatron.errors import BadMessage, SettingsError
from funcatron.tron.scaling import Basis, FuncPolicy, Memory, RunnerSnapshot, ServiceTime, Snapshot, from_json, to_json
from tests.unit.tron.scaling.worlds import func


def test_a_value_is_plain_json() -> None:
    assert to_json(ServiceTime(0.25, Basis.REMEMBERED)) == {"seconds": 0.25, "basis": "remembered"}
    assert to_json(RunnerSnapshot("r", {"q": 1}))["hosts"] == {"q": 1}


def test_fields_with_a_default_may_be_missing() -> None:
    assert from_json(Snapshot, {"at": 3}) == Snapshot(3.0)
    assert from_json(FuncPolicy, {"max": 3}) == FuncPolicy(max=3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "missing"),
        ({"at": 1.0, "time": 2.0}, "unknown"),
        ({"at": "1.0"}, "Snapshot.at"),
        ({"at": True}, "Snapshot.at"),
        ({"at": None}, "Snapshot.at"),
        ({"at": 1.0, "funcs": {}}, "Snapshot.funcs"),
        ({"at": 1.0, "funcs": [{"queue": "q", "name": "n", "slots": 1.5}]}, r"Snapshot.funcs\[0\].slots"),
        ({"at": 1.0, "runners": [{"id": "r", "hosts": {"q": "many"}}]}, r"Snapshot.runners\[0\].hosts.q"),
        ({"at": 1.0, "funcs": [{"queue": "q", "name": "n", "slots": True}]}, r"Snapshot.funcs\[0\].slots"),
        ([], "Snapshot"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(data: object, says: str) -> None:
    with pytest.raises(BadMessage, match=says):
        from_json(Snapshot, data)


def test_a_basis_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadMessage, match="guessed"):
        from_json(ServiceTime, {"seconds": 1.0, "basis": "guessed"})


def test_a_window_entry_must_be_a_pair() -> None:
    with pytest.raises(BadMessage, match="3 items instead of 2"):
        from_json(Memory, {"runners": [[1.0, 2, 3]]})


def test_values_are_checked_when_they_are_read() -> None:
    with pytest.raises(SettingsError, match="min 4 is more than max 1"):
        from_json(FuncPolicy, {"min": 4, "max": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(BadMessage):
        to_json(value)


def test_floats_keep_every_digit() -> None:
    one = func(arrival_rate=0.1 + 0.2)
    assert from_json(type(one), to_json(one)).arrival_rate == 0.1 + 0.2
