"""The host of one bundle: loads it, and runs its calls."""

from __future__ import annotations

import os
import signal
from contextvars import copy_context
from time import perf_counter, thread_time

from . import interop, loading, security
from .api import Cancelled, current
from .calls import Call, Operation
from .coroutines import Coroutines
from .engine import Engine
from .loop import Loop
from .loopengine import LoopEngine
from .replies import Replies, as_bytes, trace
from .wire import frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context as Variables
    from typing import Any, Dict, List, Mapping, Optional

    from .answers import Made
    from .output import Output, Stream
    from .wire import Reader, Sender

PIECE = 64 * 1024
AUTHORIZED = object()
END = object()


class Service:
    """Everything that one host process does. `load` first, then `serve`."""

    def __init__(self, reader: Reader, sender: Sender, output: Output, streams: List[Stream]) -> None:
        self._reader, self._sender, self._output = reader, sender, output
        self.sha = ""
        self.props: Mapping[str, Any] = {}
        self._operations: Dict[str, Operation] = {}
        self._checkers: Dict[str, security.Checker] = {}
        self._plan = security.Plan(self._checkers, self._settled)
        self._frameworks = interop.Frameworks()
        self._base: Variables = copy_context()
        self._loop = Loop(sender, self._complain)
        self._replies = Replies(sender, output, streams)
        self._coroutines = Coroutines(self._loop, self._replies, self._stream, self._ended)
        self._engine: Optional[Engine] = None

    # -- loading ------------------------------------------------------------------------------------------------

    def load(self, message: Mapping[str, Any]) -> Dict[str, Any]:
        """Import what the spec names; return the message that tells the Runner: `loaded` or `load-failed`."""
        self.sha, self.props = message.get("sha", ""), message.get("props") or {}
        resolver = loading.Resolver(message["bundle"])
        for spec in message.get("operations", ()):
            function = resolver.resolve(spec["id"], "operation")
            if function is not None:
                self._add(spec, function, resolver)
        for name in message.get("checkers", ()):
            function = resolver.resolve(name, "security function")
            if function is not None:
                self._checkers[name] = security.Checker(function)
        if resolver.errors:
            return {"type": "load-failed", "errors": resolver.errors, "found": sorted(resolver.found)}
        self._frameworks = interop.find(message["bundle"])
        self._base = copy_context()
        return {"type": "loaded", "operations": {o.id: o.describe() for o in self._operations.values()}}

    def _add(self, spec: Mapping[str, Any], function: Any, resolver: loading.Resolver) -> None:
        operation = Operation(spec, function)
        never = operation.never_callable(spec)
        if never:
            can = ", ".join(sorted(spec["arguments"])) or "no parameters"
            resolver.errors.append(
                f"operation {operation.id}: it needs {', '.join(never)}, but the spec gives it: {can}"
            )
        self._operations[operation.id] = operation

    def serve(self, concurrency: int) -> Engine:
        """Start serving; returns at once."""
        steps = (self._make, self._run, self._control, self._replies.cancelled, self._gone)
        asynchronous = [operation.is_async for operation in self._operations.values()]
        if asynchronous and all(asynchronous):
            self._engine = LoopEngine(self._loop, self._reader, self._sender, concurrency, *steps)
        else:
            self._engine = Engine(self._reader, self._sender, concurrency, *steps)
            if any(asynchronous) or any(checker.is_async for checker in self._checkers.values()):
                self._loop.start()
        self._engine.start()
        return self._engine

    def urge(self) -> None:
        """A log line waits to be sent."""
        if self._engine is not None:
            self._engine.urge()
        else:
            self._sender.flush()

    def _make(self, header: Dict[str, Any], body: Any) -> Optional[Call]:
        operation = self._operations.get(header.get("operation", ""))
        if operation is None:
            self._replies.unknown(header["id"])
            return None
        return Call(header, body, operation, self)

    def _control(self, header: Dict[str, Any]) -> None:
        kind = header["type"]
        assert self._engine is not None
        if kind == "cancel":
            if not self._coroutines.cancel(header["id"]):
                self._engine.cancel(header["id"])
        elif kind == "ping":
            self._sender.put(frame({"type": "pong", "id": header.get("id")}))
        elif kind == "stop":
            self._engine.stop()

    def _gone(self) -> None:
        """The Runner is no more: so are its calls, and what they started."""
        os.killpg(0, signal.SIGKILL)

    # -- one call -----------------------------------------------------------------------------------------------

    def _run(self, call: Call) -> bool:
        """Run a call in a context of its own; True when the event loop has it now."""
        return self._base.copy().run(self._call, call)

    def _call(self, call: Call) -> bool:
        current.set(call)
        operation = call.operation
        began = perf_counter()
        cpu = thread_time() if operation.suspect else None
        try:
            if self._answer(call, self._apply(call)):
                return True
        except Cancelled:
            raise
        except BaseException as err:  # noqa: BLE001 - user code may raise anything, SystemExit too
            self._leave(call)
            self._replies.failure(call, err)
        took = perf_counter() - began
        operation.took(took, None if cpu is None else thread_time() - cpu)
        self._replies.end_lines()
        return False

    def _apply(self, call: Call) -> Any:
        """Run the user's code. Only here, and between the pieces of a stream, it can be interrupted."""
        header = call.header
        if "security" in header:
            call.security = self._plan.check(header["security"], call)
            if call._context is not None:
                call._context.update(call.security)
        if header["type"] == "authorize":
            value: Any = AUTHORIZED
        else:
            if self._frameworks.active:
                self._frameworks.enter(call)
            value = call.operation.function(**call.operation.arguments(call))
        self._leave(call)
        return value

    def _leave(self, call: Call) -> None:
        assert self._engine is not None
        self._engine.leave(call)

    def _answer(self, call: Call, value: Any) -> bool:
        """Send the answer that `value` is. True when the event loop has to make it."""
        if value is AUTHORIZED:
            self._replies.authorized(call)
            return False
        if hasattr(value, "__await__") and not isinstance(value, bytes):
            self._coroutines.hand_over(call, value)
            return True
        made = self._replies.value(call, value)
        if made is not None:
            if made.asgi is not None or hasattr(made.stream, "__anext__"):
                self._coroutines.hand_over(call, made)
                return True
            self._stream(call, made)
        return False

    def _ended(self, call: Call) -> None:
        """The event loop has answered a call."""
        assert self._engine is not None
        self._engine.finished(call)
        self._loop.flush_soon()

    def _settled(self, value: Any) -> Any:
        """The result of a checking function, whether it was a coroutine or not."""
        while hasattr(value, "__await__"):
            value = self._loop.result(_awaited(value))
        return value

    # -- bodies that come bit by bit, from an iterator or an open file ------------------------------------------

    def _stream(self, call: Call, made: Made) -> None:
        stream = made.stream
        if callable(getattr(stream, "read", None)):
            stream = iter(lambda: made.stream.read(PIECE) or END, END)
        first = True
        try:
            while True:
                piece = self._next(call, stream)
                if piece is END:
                    break
                data = as_bytes(piece)
                if first:
                    self._replies.send(call, made, more=True)
                    first = False
                if data:
                    self._replies.chunk(call, data, True)
        except BaseException as err:
            if first:
                raise
            self._leave(call)
            self._replies.broken_off(call, err)
            return
        finally:
            if callable(getattr(made.stream, "close", None)):
                made.stream.close()
        if first:
            self._replies.send(call, made)
        else:
            self._replies.chunk(call, b"", False)

    def _next(self, call: Call, stream: Any) -> Any:
        """The next piece, END after the last: user code again."""
        assert self._engine is not None
        self._engine.enter(call)
        piece = next(stream, END)
        self._engine.leave(call)
        return piece

    def _complain(self, text: str, err: Optional[BaseException]) -> None:
        self._output.emit("error", "asyncio", text, **({"exception": trace(err)} if err is not None else {}))


async def _awaited(value: Any) -> Any:
    return await value
