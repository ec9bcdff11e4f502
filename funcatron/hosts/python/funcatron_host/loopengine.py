"""Who runs which call in a bundle whose Funcs are all coroutines: the event loop's thread reads the frames itself.

So a call costs no switch of threads. Checking functions for security may be plain functions that wait: a request with
credentials goes by a thread first, as the engine for synchronous Funcs has them.
"""

from __future__ import annotations

from .engine import CALLS, Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from .calls import Call
    from .loop import Loop
    from .wire import Reader, Sender


class LoopEngine(Engine):
    """See Engine. There is no leader, and no watchman: a coroutine that does not yield stops everything anyhow."""

    def __init__(
        self,
        loop: Loop,
        reader: Reader,
        sender: Sender,
        limit: int,
        make: Callable[[Dict[str, Any], Any], Optional[Call]],
        run: Callable[[Call], bool],
        control: Callable[[Dict[str, Any]], None],
        refuse: Callable[[Call], None],
        gone: Callable[[], None],
    ) -> None:
        super().__init__(reader, sender, limit, make, run, control, refuse, gone)
        self._loop = loop

    def start(self) -> None:
        """Let the loop read."""
        self._watching = True  # nobody is to be woken
        self._loop.soon(self._loop.start().add_reader, self._reader.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            frames = self._reader.read_some()
        except OSError:
            frames = None
        if frames is None:
            self._gone()
            return
        for header, body in frames:
            if header["type"] not in CALLS:
                self._control(header)
                continue
            call = self._make(header, body)
            if call is not None:
                self._accept(call)
        self._loop.flush_soon()

    def _accept(self, call: Call) -> None:
        with self._lock:
            if "security" in call.header or self._running >= self._limit:
                self._pending.append(call)
                if self._running < self._limit:
                    self._help()
                return
            self._running += 1
            self._active[call.id] = call
        self._step(call)

    def _step(self, call: Call) -> None:
        if not self._run(call):
            self.finished(call)

    def finished(self, call: Call) -> None:
        """A call has ended: the next one, if one waits."""
        following: Optional[Call] = None
        with self._lock:
            self._running -= 1
            self._active.pop(call.id, None)
            if self._pending and self._running < self._limit:
                if "security" in self._pending[0].header:
                    self._help()
                else:
                    following = self._pending.popleft()
                    self._running += 1
                    self._active[following.id] = following
            elif self._stopping:
                self._check_stopped()
        if following is not None:
            self._loop.soon(self._step, following)

    def urge(self) -> None:
        """A log line waits."""
        if self._loop.here:
            self._loop.flush_soon()
        else:
            self._sender.flush()
