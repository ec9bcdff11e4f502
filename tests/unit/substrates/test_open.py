"""Choosing a driver by its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from funcatron import substrates
from funcatron.errors import SettingsError
from funcatron.settings import Settings
from funcatron.substrates import open_substrate
from funcatron.substrates.base import Drains, Fences, Substrate, Usage


@pytest.mark.parametrize("name", sorted(substrates.DRIVERS))
def test_every_driver_is_made_from_the_settings_without_opening_it(name: str, tmp_path: Path) -> None:
    """Nothing is written or started by that."""
    assert isinstance(open_substrate(Settings(substrate=name, data=tmp_path / "data")), Substrate)
    assert list(tmp_path.iterdir()) == []


def test_one_machine_is_the_default_and_has_all_powers(tmp_path: Path) -> None:
    """`process` drains, fences and knows the usage."""
    made = open_substrate(Settings(data=tmp_path))
    assert isinstance(made, Drains)
    assert isinstance(made, Fences)
    assert isinstance(made, Usage)


def test_an_unknown_driver_is_an_error_that_lists_the_known_ones() -> None:
    """So that a typo is seen at once."""
    with pytest.raises(SettingsError, match=r"'proces'.*there are: .*process"):
        open_substrate(Settings(substrate="proces"))


def test_a_driver_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the extra of the package, or by the library's name; a fault of our own is not taken for that."""
    monkeypatch.setitem(sys.modules, "funcatron.substrates.process", None)
    with pytest.raises(ModuleNotFoundError):
        open_substrate(Settings())
    monkeypatch.setitem(substrates.DRIVERS, "odd", ("no_such_library:make", "odd"))
    with pytest.raises(SettingsError, match=r"no_such_library.*pip install 'funcatron\[odd\]'"):
        open_substrate(Settings(substrate="odd"))
    monkeypatch.setitem(substrates.DRIVERS, "odd", ("no_such_library:make", None))
    with pytest.raises(SettingsError, match=r"pip install 'no_such_library'"):
        open_substrate(Settings(substrate="odd"))
