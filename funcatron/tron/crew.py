"""The instances of one component that a substrate runs, as the Tron that leads asks for them under one epoch.

What the substrate has is looked up before anything is asked of it; while that is not known, nothing is.
"""

from __future__ import annotations

import logging

from funcatron.errors import SubstrateError
from funcatron.substrates.base import Drains, Outcome, Result, State, Substrate, View, ensure, ensure_drained

log = logging.getLogger("funcatron.tron.scaler")


class Crew:
    """Of one component. Methods raise NotLeader when another leads; what else goes wrong is logged, and tried again
    with the next round."""

    def __init__(self, substrate: Substrate, component: str, epoch: int) -> None:
        self.component = component
        self.view: View | None = None  # None: not known
        self.trouble = ""  # why nothing can be known or changed
        self._substrate, self._epoch = substrate, epoch
        self._ours = False  # the substrate knows that we lead

    @property
    def wanted(self) -> int | None:
        """How many shall run, by the substrate's record; None if that is not known."""
        return None if self.view is None else self.view.wanted

    @property
    def ids(self) -> frozenset[str]:
        """The instances that are not gone for good."""
        return (
            frozenset()
            if self.view is None
            else frozenset(it.id for it in self.view.instances if it.state is not State.GONE)
        )

    @property
    def down(self) -> frozenset[str]:
        """Those of them that do not run, as the substrate knows for certain."""
        if self.view is None:
            return frozenset()
        return frozenset(it.id for it in self.view.of(State.PENDING, State.FAILED))

    async def look(self) -> View | None:
        """See what there is; the first time, let the substrate know that this Tron leads."""
        try:
            self.view = await self._substrate.look(self.component)
            if not self._ours:
                outcome = await self._substrate.scale(self.component, self.view.wanted, self._epoch)
                self._ours = outcome.result in (Result.DONE, Result.TAKEN)
                if not self._ours:
                    raise SubstrateError(outcome.why or f"the substrate is {outcome.result}")
        except SubstrateError as err:
            self.view = None
            self._say(f"{self.component}: {err}")
            return None
        self._say("")
        return self.view

    async def want(self, count: int) -> None:
        """Have so many run. Does nothing while it is not known how many do."""
        if self.view is None or count == self.view.wanted:
            return
        log.info("%d instances of %s shall run, so far %d", count, self.component, self.view.wanted)
        try:
            self._note(await ensure(self._substrate, self.component, count, self._epoch))
        except SubstrateError as err:
            self._say(f"{self.component} cannot be scaled: {err}")

    async def remove(self, instance: str) -> None:
        """Take one away that has nothing to do any more; a substrate that cannot choose takes the one that it likes."""
        if self.view is None or instance not in self.ids:
            return
        try:
            if isinstance(self._substrate, Drains):
                self._note(await ensure_drained(self._substrate, self.component, instance, self._epoch))
            else:
                await self.want(max(0, self.view.wanted - 1))
        except SubstrateError as err:
            self._say(f"{instance} cannot be taken away: {err}")

    def _note(self, outcome: Outcome) -> None:
        if outcome.result in (Result.BUSY, Result.UNKNOWN):
            log.info("%s: %s: %s", self.component, outcome.result, outcome.why)

    def _say(self, trouble: str) -> None:
        """Log a change, not each second of it."""
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        elif self.trouble and not trouble:
            log.info("the substrate answers again")
        self.trouble = trouble
