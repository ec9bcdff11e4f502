"""The settings as a file, for the parts of the stack: they then have exactly those that `up` had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from funcatron.settings import Settings


def settings_file(settings: Settings) -> str:
    """Return the settings as TOML, paths absolute. It holds secrets: the file is for its owner only."""
    lines = ["# Written by `funcatron up`; changes are lost. Put yours into funcatron.toml."]
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is not None:
            lines.append(f"{name} = {toml(value)}")
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        value = str(value.absolute())
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
