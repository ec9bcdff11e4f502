"""The event loop of `async def` Funcs: one thread, started when it is first needed."""

from __future__ import annotations

import threading
from contextvars import copy_context
from threading import get_ident

from .threads import start_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Callable, Coroutine, Deque, List, Optional, Tuple

    from .wire import Sender

    Job = Tuple[Any, Coroutine[Any, Any, Any]]


class Loop:
    """Runs coroutines. `report` gets what asyncio itself complains about."""

    def __init__(self, sender: Sender, report: Callable[[str, Optional[BaseException]], None]) -> None:
        self._sender = sender
        self._report = report
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._ident = 0
        self._jobs: Deque[Job]
        self._flushing = False

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; the first call starts it."""
        with self._lock:
            if self._loop is None:
                import asyncio
                from collections import deque

                self._jobs = deque()
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(self._complaint)
                start_plain(self._forever, "funcatron-loop")
            return self._loop

    def _forever(self) -> None:
        import asyncio

        assert self._loop is not None
        self._ident = get_ident()
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    @property
    def here(self) -> bool:
        """Whether this is the loop's thread."""
        return get_ident() == self._ident

    def _complaint(self, loop: Any, context: Any) -> None:
        err = context.get("exception")
        task = context.get("task") or context.get("future")
        self._report(f"{context['message']}" + (f": {task!r}" if task is not None else ""), err)

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the caller's context."""
        loop = self.start()
        if self.here:
            loop.create_task(coroutine)
            return
        first = not self._jobs
        self._jobs.append((copy_context(), coroutine))
        if first:  # else a wake-up is under way already
            loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        assert self._loop is not None
        while self._jobs:
            context, coroutine = self._jobs.popleft()
            context.run(self._loop.create_task, coroutine)

    def result(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine and wait for its result; from another thread than the loop's, which may be interrupted."""
        loop, context = self.start(), copy_context()
        ended = threading.Event()
        tasks: List[asyncio.Task[Any]] = []

        def begin() -> None:
            task = context.run(loop.create_task, coroutine)
            tasks.append(task)
            task.add_done_callback(lambda _: ended.set())

        loop.call_soon_threadsafe(begin)
        ended.wait()
        return tasks[0].result()

    def flush_soon(self) -> None:
        """Send what waits once this turn of the loop is done; from the loop's thread."""
        if not self._flushing:
            assert self._loop is not None
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._sender.flush()

    def soon(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on the loop's thread."""
        self.start().call_soon_threadsafe(function, *arguments)
