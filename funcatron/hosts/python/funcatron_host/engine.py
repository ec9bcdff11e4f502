"""Who runs which call: leader and followers.

One thread, the leader, reads frames and runs synchronous calls itself, so that a cheap function costs no switch of
threads and all answers of one read go out in one write. A function that waits must not hold up the others: the leader
hands its role to another thread before it runs one that is known to wait, and a watchman, awake only while calls run,
does so for any call that has run for a few milliseconds. A displaced thread sends its answer, helps with what is
pending, then parks. Never more than `limit` calls run at once; coroutines count, and run on one event loop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from threading import get_ident

from . import system
from .api import Cancelled
from .calls import Call
from .threads import start_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional

    from .wire import Reader, Sender

PATIENCE = 0.002  # seconds that a call may hold the leader, and an answer may wait for others
QUIET = 5  # looks without a running call after which the watchman sleeps
PARKED = 8  # threads that are kept for later
BACKLOG = 200  # log lines that may wait for the next write

CALLS = ("call", "authorize")


class Worker:
    """A thread: `call` is what it has, `open` what of that may be interrupted now."""

    __slots__ = ("call", "ident", "open", "wake")

    def __init__(self) -> None:
        self.call: Optional[Call] = None
        self.open: Optional[Call] = None
        self.ident = 0
        self.wake = threading.Lock()
        self.wake.acquire()


class Engine:
    """Reads frames, runs calls, sends answers until it is told to stop.

    `run(call)` runs a synchronous call to its end, or returns True when a coroutine was handed to the event loop, which
    then calls `finished`. `control` gets every frame that is not a call; `make` turns a call's frame into a Call, or
    None when it was answered already; `gone` is called when the Runner is no longer there.
    """

    def __init__(
        self,
        reader: Reader,
        sender: Sender,
        limit: int,
        make: Callable[[Dict[str, Any], Any], Optional[Call]],
        run: Callable[[Call], bool],
        control: Callable[[Dict[str, Any]], None],
        refuse: Callable[[Call], None],
        gone: Callable[[], None],
    ) -> None:
        self._reader, self._sender = reader, sender
        self._limit = max(1, limit)
        self._make, self._run, self._control, self._refuse, self._gone = make, run, control, refuse, gone
        self._lock = threading.Lock()
        self._pending: Deque[Call] = deque()
        self._running = 0
        self._active: Dict[int, Call] = {}
        self._leader: Optional[Worker] = None
        self._parked: List[Worker] = []
        self._workers: List[Worker] = []
        self._roused = False  # a thread is on its way to what is pending
        self._watching = False
        self._watch_gate = threading.Event()
        self._stopping = False
        self.stopped = threading.Event()

    def start(self) -> None:
        """Start the first leader and the watchman."""
        start_plain(self._watch, "funcatron-watch")
        with self._lock:
            self._promote()

    def stop(self) -> None:
        """Finish what was accepted; `stopped` is set when that is done."""
        with self._lock:
            self._stopping = True
            self._check_stopped()

    # -- threads ------------------------------------------------------------------------------------------------

    def _promote(self) -> None:
        """Make a parked or a new thread the leader. Under the lock."""
        self._leader = self._rouse()

    def _rouse(self) -> Worker:
        if self._parked:
            worker = self._parked.pop()
            worker.wake.release()
        else:
            worker = Worker()
            self._workers.append(worker)
            start_plain(lambda: self._live(worker), "funcatron-call")
        return worker

    def _help(self) -> None:
        """See to it that a thread looks at what is pending. Under the lock."""
        if not self._roused:
            self._roused = True
            self._rouse()

    def _live(self, me: Worker) -> None:
        """A thread's life: lead, work, park."""
        me.ident = get_ident()
        while True:
            if self._leader is me and not self._read():
                self._gone()
                return
            self._work(me)
            if self._sender.waiting:
                self._sender.flush()
            if self._leader is not me and not self._park(me):
                return

    def _read(self) -> bool:
        """Take the frames of one read; False when the Runner has gone."""
        try:
            frames = self._reader.read()
        except OSError:
            return False
        if frames is None:
            return False
        for header, body in frames:
            if header["type"] in CALLS:
                call = self._make(header, body)
                if call is not None:
                    self._pending.append(call)
            else:
                self._control(header)
        return True

    def _park(self, me: Worker) -> bool:
        """Wait until there is something to do; False when enough threads wait already."""
        with self._lock:
            if self._leader is me or (self._pending and self._running < self._limit):
                return True
            if len(self._parked) >= PARKED:
                self._workers.remove(me)
                return False
            self._parked.append(me)
        me.wake.acquire()
        return True

    def _work(self, me: Worker) -> None:
        """Run what is pending, as far as the limit allows."""
        call = self._next(me)
        while call is not None:
            if not self._watching:
                self._watching = True
                self._watch_gate.set()
            handed = False
            try:
                handed = self._run(call)
            except Cancelled:  # taken: there is never a second one for a call
                me.open = None
                self._refuse(call)
            if self._leader is not me:
                self._sender.flush()
            call = self._next(me, None if handed else call)

    def _next(self, me: Worker, done: Optional[Call] = None) -> Optional[Call]:
        """Put away the call that this thread has done, and take another one if there is one, and room for it."""
        with self._lock:
            self._roused = False
            me.call = None
            if done is not None:
                self._running -= 1
                del self._active[done.id]
            if not self._pending or self._running >= self._limit:
                if self._stopping:
                    self._check_stopped()
                return None
            call = self._pending.popleft()
            self._running += 1
            self._active[call.id] = call
            call.worker = me
            me.call = me.open = call
            if self._leader is me:
                if call.operation.blocks:
                    self._promote()
            elif self._pending and self._running < self._limit:
                self._help()
            return call

    # -- interrupting: only user code is, so that an exception never strikes between the host's own steps -----------

    def enter(self, call: Call) -> None:
        """User code of this call begins (again) in this thread; raises Cancelled if it was cancelled meanwhile."""
        worker = call.worker
        if worker is not None:
            with self._lock:
                if call.cancelled:
                    raise Cancelled
                worker.open = call

    def leave(self, call: Call) -> None:
        """User code has returned: from now on this thread is not interrupted. May raise Cancelled, the last moment."""
        worker = call.worker
        if worker is not None:
            with self._lock:
                worker.open = None
            if call.cancelled:
                system.forget_raised(worker.ident)

    def cancel(self, call_id: int) -> None:
        """Give a synchronous call up, wherever it is. Nothing happens when it has ended."""
        with self._lock:
            for call in self._pending:
                if call.id == call_id:
                    self._pending.remove(call)
                    self._refuse(call)
                    return
            active = self._active.get(call_id)
            if active is not None and not active.cancelled:
                active.cancelled = True
                worker = active.worker
                if worker is not None and worker.open is active:
                    system.raise_in_thread(worker.ident, Cancelled)

    def finished(self, call: Call) -> None:
        """A coroutine's call has ended (from the event loop's thread)."""
        with self._lock:
            self._running -= 1
            self._active.pop(call.id, None)
            if self._pending and self._running < self._limit:
                self._help()
            elif self._stopping:
                self._check_stopped()

    def _check_stopped(self) -> None:
        if not self._running and not self._pending:
            self.stopped.set()

    # -- time ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The watchman. A call that is the same at two looks has run for PATIENCE at least."""
        while True:
            self._watch_gate.wait()
            self._watch_gate.clear()
            last: Optional[Call] = None
            quiet = 0
            while quiet < QUIET:
                time.sleep(PATIENCE)
                leader = self._leader
                call = leader.call if leader is not None else None
                if call is not None and call is last:
                    self._relieve(leader, call)
                if self._sender.waiting:
                    self._sender.flush()
                last = call
                quiet = 0 if call is not None else quiet + 1
            self._watching = False
            if self._sender.waiting:
                self._sender.flush()
            leader = self._leader
            if leader is not None and leader.call is not None:  # it began between the last look and now
                self._watching = True
                self._watch_gate.set()

    def _relieve(self, leader: Optional[Worker], call: Call) -> None:
        with self._lock:
            if self._leader is leader and leader is not None and leader.call is call:
                self._promote()

    def urge(self) -> None:
        """A log line waits: send it, unless the watchman is awake and will."""
        if not self._watching or len(self._sender.waiting) > BACKLOG:
            self._sender.flush()
