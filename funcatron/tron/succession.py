"""How versions of a deployment follow each other: a new one begins with what is known of the one before, and with as
many instances, since it gets all its requests at once. Decides only; time is an argument, s."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from funcatron.tron.scaling import Decision
from funcatron.tron.statistics import Picture
from funcatron.tron.traits import Traits

BESIDE = 15.0
"""A new version keeps as many instances for so long at least, s."""


class Succession:
    """Knows which versions are new, and how many instances those before them had."""

    def __init__(self) -> None:
        self._new: dict[str, tuple[float, int]] = {}  # by queue: since when, and how many instances it begins with

    def prepare(
        self, traits: Mapping[str, Traits], last: Decision | None, under_way: Container[str], now: float
    ) -> dict[str, Traits]:
        """Return the traits, with a least number of instances for what is new: as many as another version of the same
        deployment has, and no fewer than the one that was started to see whether it works.

        last: the decision before; None: there was none, so that nothing is known to be new. under_way: the queues of
        versions on their way into service.
        """
        known = last.funcs if last is not None else {}
        for queue, one in traits.items():
            if queue in under_way or (last is not None and queue not in known):
                _, before = self._new.get(queue, (now, 1))
                others = (func.instances for other, func in known.items() if _beside(one, other, func.inputs.name))
                self._new[queue] = (now, max(before, *others, 1))
        self._new = {queue: new for queue, new in self._new.items() if now - new[0] < BESIDE and queue in traits}
        return {queue: self._with_least(one) for queue, one in traits.items()}

    def _with_least(self, one: Traits) -> Traits:
        if one.queue not in self._new:
            return one
        policy = one.policy
        least = max(policy.min, self._new[one.queue][1])
        least = least if policy.max is None else min(least, policy.max)
        return replace(one, policy=replace(policy, min=least))


def _beside(one: Traits, queue: str, name: str) -> bool:
    return name == one.name and queue != one.queue


def stand_ins(picture: Picture, traits: Mapping[str, Traits]) -> dict[str, str]:
    """Return, for each queue whose calls were never timed, one of the same deployment whose calls were."""
    timed: dict[str, str] = {}
    for queue, figures in picture.funcs.items():
        if figures.name is not None and figures.service_ever is not None:
            best = timed.get(figures.name)
            if best is None or (figures.running or 0) > (picture.funcs[best].running or 0):
                timed[figures.name] = queue
    found = {}
    for queue, one in traits.items():
        known = picture.funcs.get(queue)
        if (known is None or known.service_ever is None) and one.name in timed:
            found[queue] = timed[one.name]
    return found
