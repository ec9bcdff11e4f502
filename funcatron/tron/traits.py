"""How a version is to be run: what the policy's defaults, its spec, its deployment's settings and an operator say, the
later over the earlier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from funcatron.settings import Settings
from funcatron.stores.records import BundleRecord, Version
from funcatron.stores.scaling import Scaling
from funcatron.tron.scaling import FuncPolicy

ONE_CORE = frozenset({"python", "node"})
"""Kinds of bundles whose hosts run one thread of the language at a time."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Of one version of a deployment. slots: calls at once in an instance, until one has told it. cores: that an
    instance can use; None: all. queue_limit: messages that may wait; None: by what is drained in time."""

    queue: str
    name: str
    sha: str
    policy: FuncPolicy
    slots: int
    cores: float | None = None
    queue_limit: int | None = None


def traits(
    name: str, version: Version, record: BundleRecord | None, scaling: Scaling | None, settings: Settings
) -> Traits:
    """Return how a version is to be run. record: of its bundle; None: it could not be read yet."""
    operations = record.operations if record is not None else ()
    own = version.settings
    return Traits(
        queue=version.queue(name),
        name=name,
        sha=version.sha,
        policy=policy(instances(own.get("instances"), operations), scaling or Scaling(), settings),
        slots=own.get("concurrency")
        or max((one.get("concurrency") or settings.func_concurrency for one in operations), default=0)
        or settings.func_concurrency,
        cores=1.0 if record is not None and record.kind in ONE_CORE else None,
        queue_limit=own.get("queue-limit") or _largest(one.get("queue-limit") for one in operations),
    )


def instances(own: Mapping[str, Any] | None, operations: Iterable[Mapping[str, Any]]) -> tuple[int, int | None]:
    """Return how many instances at least and at most (None: no bound): as the deployment says, else the widest that an
    operation says."""
    if own is not None:
        return own.get("min", 0), own.get("max")
    said = [one["instances"] for one in operations if one.get("instances")]
    return max((each.get("min", 0) for each in said), default=0), _largest(each.get("max") for each in said)


def policy(said: tuple[int, int | None], set_: Scaling, settings: Settings) -> FuncPolicy:
    """Return the policy. Where the operator's bound contradicts what the spec says, the spec gives way."""
    low, high = said
    if set_.max is not None:
        low, high = min(low, set_.max), set_.max
    if set_.min is not None:
        low, high = set_.min, high if high is None else max(high, set_.min)
    given: dict[str, Any] = {"warm": set_.warm, "target_wait": set_.target_wait, "idle": set_.idle}
    if set_.idle is None and settings.host_idle != Settings.model_fields["host_idle"].default:
        given["idle"] = settings.host_idle
    return FuncPolicy(min=low, max=high, **{name: value for name, value in given.items() if value is not None})


def _largest(values: Iterable[int | None]) -> int | None:
    return max((each for each in values if each is not None), default=None)
