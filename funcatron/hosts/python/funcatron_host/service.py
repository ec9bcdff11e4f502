"""The host of one bundle: loads it, runs its calls and makes their answers."""

from __future__ import annotations

import traceback
from contextvars import copy_context
from time import perf_counter, thread_time

from . import answers, interop, jsons, loading, problems, security
from .api import Cancelled, current
from .calls import Call, Operation
from .engine import Engine
from .loop import Loop
from .wire import frame, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context as Variables
    from typing import Any, Dict, List, Mapping, Optional

    from .output import Output, Stream
    from .wire import Reader, Sender

CANCELLED = b'{"type":"answer","id":%d,"status":504,"headers":[],"failed":true,"error":{"kind":"cancelled"}}'
FAILED = b'{"type":"answer","id":%d,"status":500,"headers":[],"failed":true,"error":%b}'
QUICK = b'{"type":"answer","id":%d,"status":200,"headers":[["content-type",%b]]}'
PIECE = 64 * 1024
AUTHORIZED = object()
END = object()


class Service:
    """Everything that one host process does. `load` first, then `serve`."""

    def __init__(self, reader: Reader, sender: Sender, output: Output, streams: List[Stream]) -> None:
        self._reader, self._sender, self._output, self._streams = reader, sender, output, streams
        self.sha = ""
        self.props: Mapping[str, Any] = {}
        self._operations: Dict[str, Operation] = {}
        self._checkers: Dict[str, security.Checker] = {}
        self._loop = Loop(lambda text, err: self._complain(text, err))
        self._plan: Optional[security.Plan] = None
        self._frameworks = interop.Frameworks()
        self._awaiting: Dict[int, Call] = {}  # calls that the event loop has
        self._base: Variables = copy_context()
        self.engine: Optional[Engine] = None

    # -- loading ------------------------------------------------------------------------------------------------

    def load(self, message: Mapping[str, Any]) -> Dict[str, Any]:
        """Import what the spec names; return the message that tells the Runner: `loaded` or `load-failed`."""
        self.sha, self.props = message.get("sha", ""), message.get("props") or {}
        resolver = loading.Resolver(message["bundle"])
        for spec in message.get("operations", ()):
            function = resolver.resolve(spec.get("function") or spec["id"], "operation")
            if function is not None:
                self._add(spec, function, resolver)
        for name in message.get("checkers", ()):
            function = resolver.resolve(name, "security function")
            if function is not None:
                self._checkers[name] = security.Checker(function)
        if resolver.errors:
            return {"type": "load-failed", "errors": resolver.errors, "found": sorted(resolver.found)}
        self._plan = security.Plan(self._checkers, self._settled)
        if any(o.is_async for o in self._operations.values()) or any(c.is_async for c in self._checkers.values()):
            self._loop.start()
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
        self.engine = Engine(
            self._reader, self._sender, concurrency, self._make, self._run, self._control, self._refuse, self._gone
        )
        self.engine.start()
        return self.engine

    def urge(self) -> None:
        """A log line waits to be sent."""
        if self.engine is not None:
            self.engine.urge()
        else:
            self._sender.flush()

    def _make(self, header: Dict[str, Any], body: Any) -> Optional[Call]:
        operation = self._operations.get(header.get("operation", ""))
        if operation is None:
            error = jsons.dumps({"kind": "unknown-operation"}).strip()
            self._sender.put(start(FAILED % (header["id"], error), 0))
            return None
        return Call(header, body, operation, self)

    def _control(self, header: Dict[str, Any]) -> None:
        kind = header["type"]
        assert self.engine is not None
        if kind == "cancel":
            self._cancel(header["id"])
        elif kind == "ping":
            self._sender.put(frame({"type": "pong", "id": header.get("id")}))
        elif kind == "stop":
            self.engine.stop()

    def _gone(self) -> None:
        """The Runner is no more: so are its calls."""
        import os
        import signal

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
        handed = False
        try:
            value = self._apply(call)
            if type(value) is dict and operation.json is not None:
                body = jsons.dumps(value)
                self._sender.put(start(QUICK % (call.id, operation.json), len(body)), body)
            else:
                handed = self._to_answer(call, value)
        except Cancelled:
            raise
        except BaseException as err:  # noqa: BLE001 - user code may raise anything, SystemExit too
            self._leave(call)
            self._failure(call, err)
        if not handed:
            took = perf_counter() - began
            operation.took(took, None if cpu is None else thread_time() - cpu)
            self._end_lines()
        return handed

    def _apply(self, call: Call) -> Any:
        """Run the user's code. Only here, and between the pieces of a stream, it can be interrupted."""
        if "security" in call.header:
            self._authorize(call)
        if call.header["type"] == "authorize":
            value: Any = AUTHORIZED
        else:
            if self._frameworks.active:
                self._frameworks.enter(call)
            value = call.operation.function(**call.operation.arguments(call))
        self._leave(call)
        return value

    def _leave(self, call: Call) -> None:
        assert self.engine is not None
        self.engine.leave(call)

    def _authorize(self, call: Call) -> None:
        assert self._plan is not None
        call.security = self._plan.check(call.header["security"], call)
        if call._context is not None:
            call._context.update(call.security)

    def _settled(self, value: Any) -> Any:
        """The result of a checking function, whether it was a coroutine or not."""
        while hasattr(value, "__await__"):
            value = self._loop.result(_awaited(value))
        return value

    def _to_answer(self, call: Call, value: Any) -> bool:
        """Send the answer that `value` is. True when the event loop has to make it."""
        if value is AUTHORIZED:
            self._sender.put(frame({"type": "authorized", "id": call.id}))
            return False
        if hasattr(value, "__await__") and not isinstance(value, bytes):
            self._hand_over(call, self._finish(call, value))
            return True
        made = answers.make(value, call.operation.produces)
        if made.asgi is not None or hasattr(made.stream, "__anext__"):
            self._hand_over(call, self._stream_async(call, made))
            return True
        if made.stream is not None:
            self._stream(call, made)
        else:
            self._send(call, made)
        return False

    def _send(self, call: Call, made: answers.Made, more: bool = False) -> None:
        header: Dict[str, Any] = {
            "type": "answer",
            "id": call.id,
            "status": made.status,
            "headers": made.headers,
        }
        if more:
            header["more"] = True
        self._sender.put(frame(header, len(made.body)), made.body)

    def _chunk(self, call: Call, data: bytes, more: bool, **extra: Any) -> None:
        self._sender.put(frame({"type": "chunk", "id": call.id, "more": more, **extra}, len(data)), data)
        self._sender.flush()

    def _stream(self, call: Call, made: answers.Made) -> None:
        """Send a body bit by bit, from an iterator or an open file."""
        stream = made.stream
        if callable(getattr(stream, "read", None)):
            stream = iter(lambda: made.stream.read(PIECE) or END, END)
        first = True
        try:
            while True:
                piece = self._next(call, stream)
                if piece is END:
                    break
                data = _bytes(piece)
                if first:
                    self._send(call, made, more=True)
                    first = False
                if data:
                    self._chunk(call, data, True)
        except BaseException as err:
            if first:
                raise
            self._leave(call)
            self._broken_off(call, err)
            return
        finally:
            if callable(getattr(made.stream, "close", None)):
                made.stream.close()
        if first:
            self._send(call, made)
        else:
            self._chunk(call, b"", False)

    def _next(self, call: Call, stream: Any) -> Any:
        """The next piece, END after the last: user code again."""
        assert self.engine is not None
        self.engine.enter(call)
        piece = next(stream, END)
        self.engine.leave(call)
        return piece

    def _broken_off(self, call: Call, err: BaseException) -> None:
        """A stream failed when its status was on the way already."""
        self._log_failure(call, err)
        self._chunk(call, b"", False, failed=True, error={"kind": "exception"})

    # -- coroutines ---------------------------------------------------------------------------------------------

    def _hand_over(self, call: Call, coroutine: Any) -> None:
        call.worker = None
        self._awaiting[call.id] = call
        self._loop.submit(coroutine, lambda task: self._ended(call, task))

    async def _finish(self, call: Call, value: Any) -> None:
        """Await what a Func returned, and send it."""
        import asyncio

        self._begun(call, asyncio)
        while hasattr(value, "__await__"):
            value = await value
        made = answers.make(value, call.operation.produces)
        if made.asgi is not None or made.stream is not None:
            await self._stream_async(call, made)
        else:
            self._send(call, made)

    def _begun(self, call: Call, asyncio: Any) -> None:
        call.task = asyncio.current_task()
        if call.cancelled:
            raise asyncio.CancelledError

    async def _stream_async(self, call: Call, made: answers.Made) -> None:
        import asyncio

        self._begun(call, asyncio)
        if made.asgi is not None:
            await interop.run_asgi(made.asgi, call, lambda m, data, more: self._asgi_piece(call, m, data, more))
            return
        if not hasattr(made.stream, "__anext__"):
            await asyncio.get_running_loop().run_in_executor(None, copy_context().run, self._stream, call, made)
            return
        first = True
        try:
            async for piece in made.stream:
                data = _bytes(piece)
                if first:
                    self._send(call, made, more=True)
                    first = False
                if data:
                    self._chunk(call, data, True)
        except BaseException as err:
            if first:
                raise
            self._broken_off(call, err)
            return
        if first:
            self._send(call, made)
        else:
            self._chunk(call, b"", False)

    def _asgi_piece(self, call: Call, made: Optional[answers.Made], data: bytes, more: bool) -> None:
        """One piece of a response that runs; the first comes with its status and headers."""
        if made is not None:
            made.body = data
            self._send(call, made, more=more)
            self._sender.flush()
        else:
            self._chunk(call, data, more)

    def _ended(self, call: Call, task: Any) -> None:
        """A coroutine has ended, on the event loop's thread."""
        if task.cancelled():
            self._refuse(call)
        elif task.exception() is not None:
            self._failure(call, task.exception())
        self._awaiting.pop(call.id, None)
        self._end_lines()
        assert self.engine is not None
        self.engine.finished(call)
        self._loop.flush_soon(self._sender)

    def _cancel(self, call_id: int) -> None:
        assert self.engine is not None
        call = self._awaiting.get(call_id)
        if call is None:
            self.engine.cancel(call_id)
            return
        call.cancelled = True
        task = call.task
        if task is not None:  # else it has not begun, and will look at `cancelled` when it does
            self._loop.soon(task.cancel)

    # -- failures -----------------------------------------------------------------------------------------------

    def _refuse(self, call: Call) -> None:
        """Answer for a call that was cancelled."""
        self._sender.put(start(CANCELLED % call.id, 0))

    def _failure(self, call: Call, err: BaseException) -> None:
        """Answer for a call whose function raised: the status that the exception means, else 500 and the log."""
        request_id = call.context.request_id
        try:
            made = problems.from_exception(err, request_id, call.operation.produces)
        except Exception as second:  # noqa: BLE001 - e.g. headers of the exception that are no headers
            self._log_failure(call, second)
            made = None
        if made is None and isinstance(err, answers.BadAnswer) and err.public:
            self._output.emit("error", call.operation.id, err.detail)
            made = problems.problem(500, detail=err.detail, request_id=request_id)
        if made is None:
            self._log_failure(call, err)
            error = jsons.dumps({"kind": "exception", "name": type(err).__name__}).strip()
            self._sender.put(start(FAILED % (call.id, error), 0))
            return
        if made.status >= 500:
            self._log_failure(call, err)
        self._send(call, made)

    def _log_failure(self, call: Call, err: BaseException) -> None:
        name = type(err).__name__
        what = str(err) if isinstance(err, answers.BadAnswer) else f"{call.operation.id} raised {name}: {err}"
        self._output.emit("error", call.operation.id, what, exception=_trace(err))

    def _complain(self, text: str, err: Optional[BaseException]) -> None:
        self._output.emit("error", "asyncio", text, **({"exception": _trace(err)} if err is not None else {}))

    def _end_lines(self) -> None:
        for stream in self._streams:
            if stream.partial:
                stream.end_line()


def _trace(err: BaseException) -> str:
    try:
        return loading.user_traceback(err)
    except Exception:  # noqa: BLE001 - an exception whose own str() fails
        return "".join(traceback.format_tb(err.__traceback__)) + type(err).__name__


def _bytes(piece: Any) -> Any:
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return piece
    return piece.encode() if isinstance(piece, str) else jsons.dumps(piece)


async def _awaited(value: Any) -> Any:
    return await value
