"""Calls whose answer an event loop makes: coroutines, asynchronous generators, responses that are ASGI applications."""

from __future__ import annotations

from contextvars import copy_context

from . import interop
from .answers import Made
from .replies import as_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

    from .calls import Call
    from .loop import Loop
    from .replies import Replies


class Coroutines:
    """Runs them. `ended` gets each call when it is answered; `stream` sends a body from a plain iterator."""

    def __init__(
        self,
        loop: Loop,
        replies: Replies,
        stream: Callable[[Call, Made], None],
        ended: Callable[[Call], None],
    ) -> None:
        self._loop, self._replies, self._stream, self._ended = loop, replies, stream, ended
        self._calls: Dict[int, Call] = {}

    def hand_over(self, call: Call, value: Any) -> None:
        """Let the loop finish a call: `value` is a coroutine, or an answer whose body is to come."""
        call.worker = None
        self._calls[call.id] = call
        self._loop.submit(self._finish(call, value))

    def cancel(self, call_id: int) -> bool:
        """Cancel a call; False when it is not here."""
        call = self._calls.get(call_id)
        if call is None:
            return False
        call.cancelled = True
        task = call.task
        if task is not None:  # else it has not begun, and looks at `cancelled` when it does
            self._loop.soon(task.cancel)
        return True

    async def _finish(self, call: Call, value: Any) -> None:
        """Await what a Func returned, and send it."""
        import asyncio

        replies = self._replies
        try:
            call.task = asyncio.current_task()
            if call.cancelled:
                raise asyncio.CancelledError
            while hasattr(value, "__await__"):
                value = await value
            made = value if isinstance(value, Made) else replies.value(call, value)
            if made is not None:
                await self._body(call, made)
        except asyncio.CancelledError:
            replies.cancelled(call)
        except BaseException as err:  # noqa: BLE001 - user code may raise anything, SystemExit too
            replies.failure(call, err)
        finally:
            del self._calls[call.id]
            replies.end_lines()
            self._ended(call)

    async def _body(self, call: Call, made: Made) -> None:
        if made.asgi is not None:
            await interop.run_asgi(made.asgi, call, lambda m, data, more: self._replies.piece(call, m, data, more))
        elif hasattr(made.stream, "__anext__"):
            await self._pieces(call, made)
        else:
            import asyncio

            await asyncio.get_running_loop().run_in_executor(None, copy_context().run, self._stream, call, made)

    async def _pieces(self, call: Call, made: Made) -> None:
        first = True
        try:
            async for piece in made.stream:
                data = as_bytes(piece)
                if first:
                    self._replies.send(call, made, more=True)
                    first = False
                if data:
                    self._replies.chunk(call, data, True)
        except BaseException as err:
            if first:
                raise
            self._replies.broken_off(call, err)
            return
        if first:
            self._replies.send(call, made)
        else:
            self._replies.chunk(call, b"", False)
