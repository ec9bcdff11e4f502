"""How a deployment may be scaled, and what was decided about it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from funcatron.errors import BadSettings

MOST = 10_000
"""Instances that nobody has, and seconds of a wait: above is a slip of the keyboard."""

LONGEST_IDLE = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """What an operator set of a deployment's scaling; None where nothing was said, so that the spec or the policy does.

    min, max: instances. target_wait: how long a request may wait in the queue, s. warm: instances that are kept ready
    beyond those that are needed. idle: how long a Func without requests keeps its instances, s. revision: counts the
    changes; 0 if there was none.
    """

    min: int | None = None
    max: int | None = None
    target_wait: float | None = None
    warm: int | None = None
    idle: float | None = None
    revision: int = field(default=0)

    def check(self) -> None:
        """Raise BadSettings that names every fault of it."""
        problems = []
        for name, least in (("min", 0), ("max", 1), ("warm", 0)):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and least <= value <= MOST):
                problems.append(f"{name} must be a whole number from {least} to {MOST}")
        for name, most in (("target_wait", float(MOST)), ("idle", LONGEST_IDLE)):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and 0 < value <= most):
                problems.append(f"{name.replace('_', '-')} must be more than 0 and at most {most:.0f} s")
        if not problems and self.max is not None:
            if self.min is not None and self.min > self.max:
                problems.append(f"min {self.min} is over max {self.max}")
            if self.warm is not None and self.warm > self.max:
                problems.append(f"warm {self.warm} is over max {self.max}")
        if problems:
            raise BadSettings("the scaling settings are wrong", problems)

    def as_json(self) -> dict[str, Any]:
        """Return what was set, without the revision."""
        names = ("min", "max", "target_wait", "warm", "idle")
        return {name.replace("_", "-"): getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class Decision:
    """One scaling decision about a Func: the figures that went in, what came out, and why in one sentence.

    `id` grows with time and `epoch` is that of the Tron that decided; both are the Registry's.
    """

    at: float
    name: str
    sha: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    sentence: str
    id: int = field(default=0, compare=False)
    epoch: int = field(default=0, compare=False)
