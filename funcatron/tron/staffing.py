"""How many Runners and Trons the substrate runs, and which Runner goes: what was decided, brought about.

Runners that somebody else runs, such as the stack's supervisor, count as well; only those of the substrate can be more
or fewer. A Runner goes in order: nothing is placed on it any more, it finishes, and only then it is told to end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from funcatron.errors import SubstrateError
from funcatron.substrates.base import Substrate, Usage
from funcatron.tron.allocations import REFLECTED, REPEAT, Allocations
from funcatron.tron.crew import Crew
from funcatron.tron.plane import ControlPlane
from funcatron.tron.retirements import Retirement, Retirements
from funcatron.tron.scaling import Decision, Totals
from funcatron.tron.statistics import Picture, RunnerFigures

log = logging.getLogger("funcatron.tron.scaler")

ALONE = 10.0
"""Runners that are run elsewhere, and missing, are replaced by the substrate's after so long, s."""

SELDOM = 10.0
"""Between two looks at a substrate that has nothing to do, s."""

STALE = 1.5
"""A Runner that the substrate says is down was heard at least so long ago, s."""


class Staffing:
    """Of one leadership."""

    def __init__(
        self,
        substrate: Substrate | None,
        plane: ControlPlane,
        retirements: Retirements,
        clock: Callable[[], float],
    ) -> None:
        settings = plane.base.settings
        self._substrate, self._plane, self._retirements, self._clock = substrate, plane, retirements, clock
        self._least = max(1, settings.runners)
        self._most = max(self._least, settings.most_runners)
        self._most_trons = settings.trons_max
        self.runners = Crew(substrate, "runner", plane.epoch) if substrate is not None else None
        self.trons = Crew(substrate, "tron", plane.epoch) if substrate is not None else None
        self.sharing: Mapping[str, int] = {}  # machines of the substrate, and for how many Runners each is
        self._looked = float("-inf")
        self._missing: float | None = None  # since when Runners are missing that others run

    def is_down(self, runner: str, figures: RunnerFigures) -> bool:
        """Say whether the substrate knows that a Runner does not run now, and it has not been heard since."""
        return self.runners is not None and runner in self.runners.down and figures.age >= STALE

    async def look(self) -> None:
        """See what the substrate has. Raises NotLeader."""
        now = self._clock()
        if self.runners is None or self.trons is None:
            return
        busy = self._most > self._least or self._most_trons > 1 or self.runners.ids or self.trons.ids
        if not busy and now - self._looked < SELDOM:
            return
        self._looked = now
        await self.runners.look()
        await self.trons.look()
        if self._most > self._least and not self.sharing:
            self.sharing = await self._machines()

    def totals(self, totals: Totals) -> Totals:
        """Return the totals with the numbers of Runners (None: it is not known what the substrate has) and Trons."""
        trons = 1 + len(self._plane.peers.of("tron"))
        crew = self.runners
        scaled = crew is not None and (self._most > self._least or crew.ids)
        wanted = crew.wanted if crew is not None and scaled else None
        return replace(
            totals,
            runners=None if wanted is None else self._elsewhere(wanted) + wanted,
            min_runners=self._least,
            max_runners=self._most,
            runner_window=self._plane.base.settings.runners_window,
            min_trons=1 if self._most_trons > 1 else trons,
            max_trons=self._most_trons if self._most_trons > 1 else trons,
        )

    async def bring_about(self, decision: Decision, picture: Picture, allocations: Allocations) -> None:
        """Ask the substrate for what was decided, and let go of Runners that shall go. Raises NotLeader."""
        await self._size_runners(decision, picture)
        for runner, retirement in self._retirements.items():
            await self._retire(runner, retirement, picture, allocations)
        if self.trons is not None and self.trons.wanted is not None and self._most_trons > 1:
            there = 1 + len(self._plane.peers.of("tron"))
            if decision.trons.count is not None:
                elsewhere = max(1, there - len(self.trons.ids))
                await self.trons.want(max(0, decision.trons.count - elsewhere))

    # Runners

    def _elsewhere(self, wanted: int) -> int:
        """Return how many Runners others run. Those that should be there and are not may be about to come."""
        assert self.runners is not None
        now, ids = self._clock(), self.runners.ids
        seen = sum(peer.id not in ids for peer in self._plane.peers.of("runner"))
        if seen + wanted >= self._least:
            self._missing = None
            return seen
        self._missing = self._missing if self._missing is not None else now
        return seen if now - self._missing >= ALONE else self._least - wanted

    async def _size_runners(self, decision: Decision, picture: Picture) -> None:
        crew, count = self.runners, decision.runners.count
        if crew is None or crew.wanted is None or count is None:
            return
        there = self._elsewhere(crew.wanted) + crew.wanted
        if count >= there:
            for runner in self._retirements.keep():
                log.info("%s is needed after all", runner)
            if count > there:
                await crew.want(crew.wanted + count - there)
            return
        idle = sorted(crew.down - {peer.id for peer in self._plane.peers.of("runner")})
        if idle:
            await crew.remove(idle[0])
        elif decision.runners.drain is not None:
            self._propose(decision.runners.drain, picture)

    def _propose(self, victim: str, picture: Picture) -> None:
        """Let the Runner go that was chosen, or, where others run that one, the substrate's with the fewest hosts."""
        assert self.runners is not None
        ours = [name for name in self.runners.ids if name in picture.runners]
        if victim not in ours:
            if not ours:
                return
            victim = min(ours, key=lambda name: (sum(picture.runners[name].hosts.values()), name))
        peer = self._plane.peers.get(victim)
        if peer is not None and victim not in self._retirements:
            log.info("%s is not needed any more and shall go", victim)
            self._retirements.propose(victim, peer.info.get("pid"))

    async def _retire(self, runner: str, retirement: Retirement, picture: Picture, allocations: Allocations) -> None:
        """Tell a Runner to end once it has nothing in hand."""
        peer, now = self._plane.peers.get(runner), self._clock()
        ours = self.runners is not None and runner in self.runners.ids
        if peer is None or peer.info.get("pid") != retirement.process:
            if peer is not None or not ours or retirement.ending is not None:
                log.info("%s has ended", runner)
                await self._retirements.over(runner)
            return
        figures = picture.runners.get(runner)
        told = allocations.told_nothing(runner)
        empty = figures is not None and not figures.silent and not figures.hosts and not figures.in_flight
        if not empty or told is None or now - told < REFLECTED:
            return
        if retirement.ending is not None and now - retirement.ending < REPEAT:
            return
        retirement.ending = now
        log.info("%s has nothing in hand any more and is told to end", runner)
        if ours and self.runners is not None:
            await self.runners.remove(runner)
        else:
            self._plane.outbox.die(runner, peer.queue)

    async def _machines(self) -> dict[str, int]:
        """Return for how many Runners each of the substrate's machines is; none where it cannot say."""
        if not isinstance(self._substrate, Usage):
            return {}
        try:
            names = await self._substrate.machines()
        except SubstrateError as err:
            log.info("the machines of the substrate are not known: %s", err)
            return {}
        return dict.fromkeys(names, math.ceil(self._most / len(names))) if names else {}
