"""The vendor extension `x-funcatron`: what a spec may say about how its Funcs are run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

KEY = "x-funcatron"
LATER = frozenset({"aliases", "environments", "events", "next"})
Validation = Literal["off", "on", "strict"]
Retry = Literal["always", "never", "idempotent"]
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")


@dataclass(frozen=True)
class Instances:
    """How many instances a deployment may have."""

    min: int = 0
    max: int | None = None


@dataclass(frozen=True)
class Extension:
    """The settings of one level (root, path or operation) over those of the level around it. Times in seconds."""

    name: str | None = None
    timeout: float | None = None
    concurrency: int | None = None
    instances: Instances | None = None
    strict_parameters: bool = False
    validate_responses: Validation | float = "off"
    retry: Retry = "idempotent"
    queue_limit: int | None = None  # messages that may wait for the deployment

    def inner(self, node: Mapping[str, Any], where: str, problems: list[str], *, root: bool = False) -> Extension:
        """Return these settings overridden by the `x-funcatron` of `node`; faults are added to `problems`."""
        raw = node.get(KEY)
        if raw is None:
            return self
        if not isinstance(raw, Mapping):
            problems.append(f"{where}: {KEY} must be an object")
            return self
        changes: dict[str, Any] = {}
        for key, value in raw.items():
            reader = _READERS.get(key)
            if key in LATER:
                problems.append(f"{where}: {KEY}: {key} is not supported yet")
            elif reader is None or (key == "name" and not root):
                known = ", ".join(k for k in _READERS if root or k != "name")
                problems.append(f"{where}: {KEY}: unknown key {key!r}; known here are {known}")
            else:
                try:
                    changes[key.replace("-", "_")] = reader(value)
                except ValueError as err:
                    problems.append(f"{where}: {KEY}: {key} {err}")
        return replace(self, **changes)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.match(value):
        raise ValueError("must be 1 to 63 letters, digits, '.', '_' or '-', with a letter or digit at both ends")
    return value


def _timeout(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ValueError("must be a number of seconds, more than 0 and at most 86400")
    return float(value)


def _concurrency(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise ValueError("must be an integer from 1 to 10000")
    return value


def _queue_limit(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000_000:
        raise ValueError("must be an integer from 1 to 10000000")
    return value


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _instances(value: Any) -> Instances:
    if not isinstance(value, Mapping) or set(value) - {"min", "max"}:
        raise ValueError("must be an object with min, max or both")
    low, high = value.get("min", 0), value.get("max")
    if not _count(low) or not (high is None or _count(high)):
        raise ValueError("min and max must be integers of 0 or more")
    if high is not None and (high < low or high < 1):
        raise ValueError("max must be at least 1 and not below min")
    return Instances(low, high)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _validation(value: Any) -> Validation | float:
    if value is False or value == "off":  # YAML 1.1 reads a bare off as false
        return "off"
    if value is True or value == "on":
        return "on"
    if value == "strict":
        return "strict"
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError("must be off, on, strict, or a fraction from 0 to 1")


def _retry(value: Any) -> Retry:
    if value not in ("always", "never", "idempotent"):
        raise ValueError("must be always, never or idempotent")
    return value  # type: ignore[no-any-return]  # narrowed by the test above


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "timeout": _timeout,
    "concurrency": _concurrency,
    "instances": _instances,
    "queue-limit": _queue_limit,
    "strict-parameters": _flag,
    "validate-responses": _validation,
    "retry": _retry,
}
