"""Message brokers: one driver a file, found by name. `base` says what a driver must do, `tests/conformance` checks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from funcatron.errors import SettingsError

if TYPE_CHECKING:
    from funcatron.brokers.base import Broker
    from funcatron.settings import Settings

# name → "module:function" that makes a driver from the settings, and the extra of the package that it needs
DRIVERS = {
    "rabbitmq": ("funcatron.brokers.rabbitmq:from_settings", None),
    "memory": ("funcatron.brokers.memory:from_settings", None),
}


def open_broker(settings: Settings, name: str = "funcatron") -> Broker:
    """Make the driver that the settings choose; it is not connected yet. `name` is how the broker's tools show it.

    Raises SettingsError for an unknown driver, and for one whose library is not installed.
    """
    entry = DRIVERS.get(settings.broker)
    if entry is None:
        raise SettingsError(f"there is no broker driver {settings.broker!r}; there are: {', '.join(sorted(DRIVERS))}")
    target, extra = entry
    module, _, function = target.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] == "funcatron":
            raise
        what = f"funcatron[{extra}]" if extra else str(err.name)
        raise SettingsError(
            f"the broker driver {settings.broker!r} needs {err.name}, which is not installed: pip install '{what}'"
        ) from err
    return cast("Broker", make(settings, name))
