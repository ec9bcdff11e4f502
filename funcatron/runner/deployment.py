"""What the Tron says of a Func: a bundle, its queue, its properties, and the settings of this deployment of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from funcatron.errors import BadMessage, SettingsError


@dataclass(frozen=True)
class Deployment:
    """A Func as a Runner is told to serve it."""

    sha: str
    queue: str
    name: str = ""
    host: str | None = None
    path: str | None = None
    props: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Deployment:
        """Read it from an `enable` or an entry of `all-bundles`. Raises BadMessage."""
        try:
            sha, queue = message["sha"], message["queue"]
        except KeyError as err:
            raise BadMessage(f"a deployment without {err}") from err
        return cls(
            sha=sha,
            queue=queue,
            name=message.get("name") or queue,
            host=message.get("host"),
            path=message.get("path"),
            props=message.get("props") or {},
            settings=message.get("settings") or {},
        )


@dataclass(frozen=True)
class Wishes:
    """The settings of a deployment; they win over what the spec says. None: it says nothing.

    `timeout` in s, for Operations that have none; `memory` in bytes, `cpu` in s; `validate_responses` is `off`, `on`,
    `strict` or a fraction.
    """

    timeout: float | None = None
    concurrency: int | None = None
    instances: tuple[int, int | None] | None = None
    validate_responses: str | float | None = None
    memory: int | None = None
    files: int | None = None
    cpu: int | None = None
    log_level: str | None = None
    queue_limit: int | None = None  # for Trons

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Wishes:
        """Read the settings. Raises SettingsError that names the key, and what it may be."""
        found: dict[str, Any] = {}
        for key, value in settings.items():
            reader = _READERS.get(key)
            if reader is None:
                raise SettingsError(f"unknown setting {key!r} of the deployment; known are {', '.join(_READERS)}")
            try:
                found[key.replace("-", "_")] = reader(value)
            except ValueError as err:
                raise SettingsError(f"the deployment's setting {key} {err}") from err
        return cls(**found)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ValueError("must be a number of seconds, more than 0 and at most 86400")
    return float(value)


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number of {least} or more")
        return value

    return read


def _instances(value: Any) -> tuple[int, int | None]:
    if not isinstance(value, Mapping) or set(value) - {"min", "max"}:
        raise ValueError("must be an object with min, max or both")
    low = _whole(0)(value.get("min", 0))
    high = value.get("max")
    if high is not None and _whole(1)(high) < low:
        raise ValueError("has a max below its min")
    return low, high


def _validation(value: Any) -> str | float:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ("off", "on", "strict"):
        return str(value)
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError("must be off, on, strict, or a fraction from 0 to 1")


def _level(value: Any) -> str:
    if str(value).upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return str(value).upper()


_READERS: dict[str, Callable[[Any], Any]] = {
    "timeout": _seconds,
    "concurrency": _whole(1),
    "instances": _instances,
    "queue-limit": _whole(1),
    "validate-responses": _validation,
    "memory": _whole(0),
    "files": _whole(16),
    "cpu": _whole(0),
    "log-level": _level,
}
