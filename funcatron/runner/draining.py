"""When a func queue that is on its way out is worked off, as far as a Runner can see."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from funcatron.errors import UnknownDepth

if TYPE_CHECKING:
    from funcatron.runner.func import Func

log = logging.getLogger("funcatron.runner.func")

LOOK = 0.2  # between two looks at the queue, s
CALM = 2  # so many empty looks in a row are the end of a queue
BLIND = 30.0  # a queue whose depth stays unknown for so long is given up, s


async def worked_off(func: Func) -> None:
    """Return once the queue is empty and nothing of it is in flight here."""
    calm, blind_since = 0, time.monotonic()
    queue, broker = func.deployment.queue, func.tools.broker
    while calm < CALM:
        try:
            # where it takes nothing, others work the queue off
            empty = not func.prefetch or (await broker.depth(queue)).ready == 0
            blind_since = time.monotonic()
        except UnknownDepth as err:
            empty = broker.connected and time.monotonic() - blind_since > BLIND
            if empty:
                log.warning("giving up on a queue's depth: %s", err, extra=func.label)
        calm = calm + 1 if empty and func.in_flight() == 0 else 0
        await asyncio.sleep(LOOK)
