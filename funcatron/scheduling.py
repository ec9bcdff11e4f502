"""How the kernel schedules this process."""

from __future__ import annotations

import logging
import os

log = logging.getLogger("funcatron.scheduling")


def in_batches() -> None:
    """Let what wakes this process up finish its turn first, instead of being interrupted by it (SCHED_BATCH, sched(7)).

    For processes that handle messages: while a machine is busy more of them come with each wake-up, which takes a fifth
    off the CPU time of a request; on an idle machine nothing changes. Child processes inherit it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as err:  # a sandbox may forbid it
        log.info("the scheduling policy stays as it is: %s", err.strerror)
