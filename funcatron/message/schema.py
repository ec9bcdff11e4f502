"""The JSON Schemas (2020-12) of all messages, which ship in the package: `schemas/ACTION.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from funcatron.errors import BadMessage

ACTIONS = frozenset(
    {
        "ack",
        "all-bundles",
        "allocate",
        "answer",
        "awake",
        "die",
        "died",
        "disable",
        "enable",
        "heartbeat",
        "resend-awake",
        "route",
        "service",
        "stats",
        "tron-info",
    }
)

_SHOWN = 5  # faults that an error names


@cache
def schema(action: str) -> dict[str, Any]:
    """Return the schema of an action's messages. Raises BadMessage for an unknown action."""
    if action not in ACTIONS:
        raise BadMessage(f"The action {action[:60]!r} is unknown.")
    text = files("funcatron.message").joinpath("schemas", f"{action}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _validator(action: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema(action))


def validate(action: str, message: object) -> None:
    """Check a decoded message against its schema. Raises BadMessage that says where and what, for the first faults."""
    validator = _validator(action)
    try:
        if validator.is_valid(message):
            return
        faults = []
        for fault in validator.iter_errors(message):
            where = "/".join(map(str, fault.instance_path)) or "the message"
            faults.append(f"{where[:100]}: {str(fault.message)[:200]}")
            if len(faults) == _SHOWN:
                break
    except (ValueError, RecursionError) as err:  # nested more deeply than the validator goes
        raise BadMessage(f"The message {action} cannot be checked: {err}.") from err
    raise BadMessage(f"The message {action} breaks its schema: " + "; ".join(faults) + ".")
