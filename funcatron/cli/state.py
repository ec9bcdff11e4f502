"""What the global options say, and the settings that follow from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from funcatron import settings as settings_module
from funcatron.errors import SettingsError
from funcatron.settings import Settings


@dataclass
class State:
    """The flags of one run of the command line; the settings are read when a command first asks."""

    flags: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, pairs: list[str], **named: Any) -> State:
        """Return the state for `--set NAME=VALUE` pairs and named options; options that are None count as not given."""
        flags = dict(split_pair(pair) for pair in pairs)
        flags.update({name: value for name, value in named.items() if value is not None})
        unknown = sorted(set(flags) - set(Settings.model_fields))
        if unknown:
            raise SettingsError(f"unknown setting: {', '.join(unknown)} (`funcatron config` lists them)")
        return cls(flags)

    @cached_property
    def settings(self) -> Settings:
        """The effective settings: flag before environment before file."""
        return settings_module.load(**self.flags)

    def source(self, name: str) -> str:
        """Return where a setting's value comes from."""
        if name in self.flags:
            return "flag"
        variable = "FUNCATRON_" + name.upper()
        if variable in os.environ:
            return f"environment ({variable})"
        return f"file ({config_file()})" if name in in_file() else "default"


def split_pair(pair: str, exact: bool = False) -> tuple[str, str]:
    """Return name and value of `NAME=VALUE`; the name as a setting's unless it is to be exact. Raises SettingsError."""
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise SettingsError(f"{pair!r} is not NAME=VALUE")
    return name if exact else name.strip().replace("-", "_").lower(), value


def config_file() -> Path:
    """Return the settings file that is read if it is there."""
    return Path(os.environ.get("FUNCATRON_CONFIG", "funcatron.toml"))


def in_file() -> set[str]:
    """Return the names of the settings that the file gives."""
    import tomllib

    try:
        return set(tomllib.loads(config_file().read_text()))
    except OSError:
        return set()
