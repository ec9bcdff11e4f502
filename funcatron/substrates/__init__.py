"""Substrates: one driver a file or folder, found by name. `base` says what one must do, `tests/conformance` checks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from funcatron.errors import SettingsError

if TYPE_CHECKING:
    from funcatron.settings import Settings
    from funcatron.substrates.base import Substrate

# name → "module:function" that makes a driver from the settings, and the extra of the package that it needs
DRIVERS: dict[str, tuple[str, str | None]] = {
    "process": ("funcatron.substrates.process:from_settings", None),
}


def open_substrate(settings: Settings) -> Substrate:
    """Make the driver that the settings choose; it is not opened yet.

    Raises SettingsError for an unknown driver, and for one whose library is not installed.
    """
    entry = DRIVERS.get(settings.substrate)
    if entry is None:
        there = ", ".join(sorted(DRIVERS))
        raise SettingsError(f"there is no substrate driver {settings.substrate!r}; there are: {there}")
    target, extra = entry
    module, _, function = target.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] == "funcatron":
            raise
        what = f"funcatron[{extra}]" if extra else str(err.name)
        raise SettingsError(
            f"the substrate driver {settings.substrate!r} needs {err.name}, which is not installed:"
            f" pip install '{what}'"
        ) from err
    return cast("Substrate", make(settings))
