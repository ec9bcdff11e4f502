"""The scaler of each leadership of a Tron, one after another, on one substrate."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from funcatron.errors import SubstrateError
from funcatron.substrates.base import Substrate
from funcatron.tron.plane import ControlPlane
from funcatron.tron.scaler import Scaler

if TYPE_CHECKING:
    from funcatron.tron.tron import Tron

log = logging.getLogger("funcatron.tron.scaler")


class Scalers:
    """Has a Tron scale while it leads. substrate: None if there is nothing that could run more Runners."""

    def __init__(self, substrate: Substrate | None = None) -> None:
        self.present: Scaler | None = None  # of the present leadership, or of the last one
        self._substrate = substrate
        self._opened = False

    def attach(self, tron: Tron) -> None:
        """Be called by a Tron: each second while it leads, and when a Runner is to be taken out of service."""
        tron.on_tick("scaling", self.tick)
        tron.runner_drain = self.drain_runner

    async def tick(self, plane: ControlPlane) -> None:
        """Make a round. Raises NotLeader."""
        await (await self._of(plane)).round()

    async def drain_runner(self, plane: ControlPlane, runner: str) -> None:
        """Take a Runner out of service. Raises NotFound, StoreError, NotLeader."""
        await (await self._of(plane)).drain_runner(runner)

    async def close(self) -> None:
        """Let go of the substrate; what runs there goes on running. Idempotent."""
        if self._opened and self._substrate is not None:
            self._opened = False
            await self._substrate.close()

    async def _of(self, plane: ControlPlane) -> Scaler:
        if self.present is None or self.present.plane is not plane:
            await self._open()
            self.present = Scaler(plane, self._substrate)
            self.present.listen()
        return self.present

    async def _open(self) -> None:
        if self._opened or self._substrate is None:
            return
        try:
            await self._substrate.open()
            self._opened = True
        except SubstrateError as err:
            log.error("the substrate cannot be used, so that the number of Runners stays as it is: %s", err)
            self._substrate = None
