"""Who leads: one Tron of an installation, by a lease in the Registry (`funcatron.stores.lease`).

Each Tron that does not lead looks twice a second whether it may; the one that leads gives a sign of life each second.
It stops to lead when it could not do so for as long as the lease lasts, by its own clock, whatever it is waiting for:
before anybody else may begin.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from funcatron.errors import NotLeader, StoreError
from funcatron.stores.lease import BEAT, LOOK, TTL, Lease, Tenure

log = logging.getLogger("funcatron.tron.leadership")

KNOWN = 2.0
"""How old may be what is known of the lease of another, s."""

AGAIN = 0.2
"""Pause before a sign of life that failed is tried again, s."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Times, s: as `funcatron.stores.lease` names them, and `unfit`: a leader that could do nothing for so long lets
    another lead."""

    ttl: float = TTL
    beat: float = BEAT
    look: float = LOOK
    unfit: float = 10.0


class Leases(Protocol):
    """What is needed of the Registry."""

    async def leader(self) -> Lease:
        """Return the lease as it is."""

    async def acquire(self, holder: str, url: str, ttl: float = TTL) -> Lease | None:
        """Take the lease if it can be had."""

    async def renew(self, held: Lease) -> Lease:
        """Give a sign of life. Raises NotLeader."""

    async def release(self, held: Lease) -> None:
        """Give the lease up."""


TakeUp = Callable[[Tenure, bool], Awaitable[None]]
"""Begins to lead; told whether a former leader may have something in hand yet, as far as is known. Raises NotLeader."""


class Leadership:
    """Campaigns for the lease, and keeps it. `run` until it is cancelled, which gives the lease up.

    holder, url: of this Tron. take_up, step_down: what to do at the beginning and the end of leading; `step_down` is
    called in any case, before anything else. fit: whether this Tron could do anything as the leader.
    """

    def __init__(
        self,
        leases: Leases,
        holder: str,
        url: str,
        *,
        take_up: TakeUp,
        step_down: Callable[[], Awaitable[None]],
        fit: Callable[[], bool] = lambda: True,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leases = leases
        self.holder = holder
        self.url = url
        self.pace = pace or Pace()
        self.tenure: Tenure | None = None
        self.lease: Lease | None = None  # as it was seen last; None: not known
        self.trouble = ""  # why the Registry could not be asked the last time
        self.looked = asyncio.Event()  # it was asked, or could not be, for the first time
        self._take_up, self._step_down, self._fit, self._clock = take_up, step_down, fit, clock
        self._known = float("-inf")  # when the lease was seen
        self._news = asyncio.Event()  # set, and made anew, when another was seen

    def holds(self) -> bool:
        """Tell whether this Tron has the lease at this moment, by its own clock."""
        return self.tenure is not None and self.tenure.holds(self._clock())

    async def find(self) -> Lease | None:
        """Look who has the lease; what was seen last if the Registry cannot be asked, None if nothing ever was."""
        try:
            self._note(await self.leases.leader())
        except StoreError as err:
            self.away(self.trouble or str(err))
        return self.lease

    async def moved(self, url: str) -> None:
        """Return once somebody is seen to lead who is not found at `url`."""
        while self.lease is None or self.lease.holder is None or self.lease.url == url:
            await self._news.wait()

    def away(self, why: str) -> None:
        """Note that the Registry cannot be asked, or with "" that it can; logs a change, not each look of it."""
        if why and not self.trouble:
            log.warning("%s: nothing can be changed; requests are dispatched all the same", why)
        elif self.trouble and not why:
            log.info("the Registry answers again")
        self.trouble = why

    async def run(self) -> None:
        """Look, lead, look again."""
        while True:
            try:
                await self._round()
            except Exception:  # a Tron that does not look any more would never lead
                log.exception("a look at who leads has failed")
            self.looked.set()
            await asyncio.sleep(self.pace.look * random.uniform(0.8, 1.0))

    # looking

    async def _round(self) -> None:
        if not self._fit():
            return
        asked = self._clock()
        try:
            before = self.lease or self._note(await self.leases.leader())
            taken = await self._look()
        except StoreError as err:
            self.away(str(err))
            return
        self.away("")
        if taken is not None:
            await self._lead(taken, asked, silent=before.holder not in {None, self.holder})

    async def _look(self) -> Lease | None:
        """Take the lease if it can be had."""
        taken = await self.leases.acquire(self.holder, self.url, self.pace.ttl)
        if taken is not None:
            self._note(taken)
        elif self._clock() - self._known >= KNOWN:
            self._note(await self.leases.leader())
        return taken

    def _note(self, lease: Lease) -> Lease:
        if self.lease is None or (lease.holder, lease.epoch) != (self.lease.holder, self.lease.epoch):
            log.info("%s leads, epoch %d", lease.holder or "nobody", lease.epoch)
            self._news.set()
            self._news = asyncio.Event()
        self.lease, self._known = lease, self._clock()
        return lease

    # leading

    async def _lead(self, lease: Lease, asked: float, *, silent: bool) -> None:
        """Lead for as long as the lease is kept."""
        tenure = self.tenure = Tenure(lease.epoch, asked, self.pace.ttl)
        held = False
        begun = asyncio.ensure_future(self._take_up(tenure, silent))
        beating = asyncio.ensure_future(self._beat(lease, tenure, asked))
        try:
            await asyncio.wait({begun, beating}, return_when=asyncio.FIRST_COMPLETED)
            if _failed(begun):
                log.error("leading could not be begun", exc_info=begun.exception())
                held = True
            else:
                self.looked.set()
                held = await beating
        except asyncio.CancelledError:
            held = tenure.holds(self._clock())
            raise
        finally:
            await self._leave(lease, (begun, beating), held=held)

    async def _leave(self, lease: Lease, work: Collection[asyncio.Future[Any]], *, held: bool) -> None:
        """Stop to lead; give the lease up if it is held, once nothing is done any more under its epoch."""
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if not held:
            self.tenure = None
        await self._step_down()
        self.tenure = self.lease = None
        if held:
            try:
                await self.leases.release(lease)
            except StoreError as err:
                log.warning("the lease could not be given up, it ends in %g s: %s", self.pace.ttl, err)

    async def _beat(self, lease: Lease, tenure: Tenure, asked: float) -> bool:
        """Give signs of life until that does not help any more; returns whether the lease is held all the same, by a
        Tron that cannot do anything with it."""
        fit = self._clock()
        until = asked + tenure.ttl
        pause = asked + self.pace.beat - self._clock()
        while True:
            await asyncio.sleep(max(0.0, min(pause, until - self._clock())))
            asked = self._clock()
            if not tenure.holds(asked):
                log.warning("this Tron does not lead any more: %s", self.trouble or "its time is over")
                return False
            fit = asked if self._fit() else fit
            if asked - fit > self.pace.unfit:
                log.warning("this Tron has no connection to the broker: another one shall lead")
                return True
            try:
                async with asyncio.timeout(until - asked):
                    await self.leases.renew(lease)
            except (NotLeader, TimeoutError) as err:
                log.warning("this Tron does not lead any more: %s", err or "the Registry does not answer")
                return False
            except StoreError as err:
                self.away(str(err))
                pause = AGAIN
            else:
                self.away("")
                tenure.renewed(asked)
                until, pause = asked + tenure.ttl, asked + self.pace.beat - self._clock()


def _failed(work: asyncio.Future[None]) -> bool:
    """Tell whether it has ended by an error other than that it is too late."""
    return work.done() and not work.cancelled() and not isinstance(work.exception(), NotLeader | None)
