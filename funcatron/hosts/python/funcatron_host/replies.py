"""What a host sends about a call: its answer, whole or bit by bit, or that it failed."""

from __future__ import annotations

import traceback

from . import answers, jsons, loading, problems
from .wire import frame, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from .calls import Call
    from .output import Output, Stream
    from .wire import Sender

CANCELLED = b'{"type":"answer","id":%d,"status":504,"headers":[],"failed":true,"error":{"kind":"cancelled"}}'
FAILED = b'{"type":"answer","id":%d,"status":500,"headers":[],"failed":true,"error":%b}'
QUICK = b'{"type":"answer","id":%d,"status":200,"headers":[["content-type",%b]]}'


class Replies:
    """Frames about calls, and log lines about what went wrong in them."""

    def __init__(self, sender: Sender, output: Output, streams: List[Stream]) -> None:
        self._sender, self._output, self._streams = sender, output, streams

    def value(self, call: Call, value: Any) -> Optional[answers.Made]:
        """Send what a Func returned, or return the answer whose body is still to come."""
        content_type = call.operation.json
        if content_type is not None and type(value) is dict:
            body = jsons.dumps(value)
            self._sender.put(start(QUICK % (call.id, content_type), len(body)), body)
            return None
        made = answers.make(value, call.operation.produces)
        if made.asgi is not None or made.stream is not None:
            return made
        self.send(call, made)
        return None

    def send(self, call: Call, made: answers.Made, more: bool = False) -> None:
        """Send an answer; with `more`, chunks follow."""
        header: Dict[str, Any] = {"type": "answer", "id": call.id, "status": made.status, "headers": made.headers}
        if more:
            header["more"] = True
        self._sender.put(frame(header, len(made.body)), made.body)

    def chunk(self, call: Call, data: Any, more: bool, **extra: Any) -> None:
        """Send a piece of a body now."""
        self._sender.put(frame({"type": "chunk", "id": call.id, "more": more, **extra}, len(data)), data)
        self._sender.flush()

    def piece(self, call: Call, made: Optional[answers.Made], data: bytes, more: bool) -> None:
        """Send a piece of a response that runs; the first comes with its status and headers."""
        if made is not None:
            made.body = data
            self.send(call, made, more=more)
            self._sender.flush()
        else:
            self.chunk(call, data, more)

    def authorized(self, call: Call) -> None:
        """The security plan allows the request."""
        self._sender.put(frame({"type": "authorized", "id": call.id}))

    def cancelled(self, call: Call) -> None:
        """It was given up."""
        self._sender.put(start(CANCELLED % call.id, 0))

    def unknown(self, call_id: int) -> None:
        """There is no such operation."""
        self._sender.put(start(FAILED % (call_id, b'{"kind":"unknown-operation"}'), 0))

    def broken_off(self, call: Call, err: BaseException) -> None:
        """A stream failed when its status was on the way already."""
        self._log(call, err)
        self.chunk(call, b"", False, failed=True, error={"kind": "exception"})

    def failure(self, call: Call, err: BaseException) -> None:
        """User code raised: send the status that the exception means, else 500, and the trace to the log."""
        request_id = call.context.request_id
        try:
            made = problems.from_exception(err, request_id, call.operation.produces)
        except Exception as second:  # noqa: BLE001 - e.g. headers of the exception that are no headers
            self._log(call, second)
            made = None
        if made is None and isinstance(err, answers.BadAnswer) and err.public:
            self._output.emit("error", call.operation.id, err.detail)
            made = problems.problem(500, detail=err.detail, request_id=request_id)
        elif made is None:
            self._log(call, err)
            error = jsons.dumps({"kind": "exception", "name": type(err).__name__}).strip()
            self._sender.put(start(FAILED % (call.id, error), 0))
            return
        elif made.status >= 500:
            self._log(call, err)
        self.send(call, made)

    def _log(self, call: Call, err: BaseException) -> None:
        name = type(err).__name__
        what = str(err) if isinstance(err, answers.BadAnswer) else f"{call.operation.id} raised {name}: {_text(err)}"
        self._output.emit("error", call.operation.id, what, exception=trace(err))

    def end_lines(self) -> None:
        """The code of a call is done in this thread: what it printed without a line end goes out."""
        for stream in self._streams:
            if stream.partial:
                stream.end_line()


def _text(err: BaseException) -> str:
    try:
        return str(err)
    except Exception:  # noqa: BLE001 - user code's own __str__
        return "(its text cannot be made)"


def trace(err: BaseException) -> str:
    """The traceback of an exception, from the user's code on."""
    try:
        return loading.user_traceback(err)
    except Exception:  # noqa: BLE001 - an exception whose own __str__ fails
        return "".join(traceback.format_tb(err.__traceback__)) + type(err).__name__


def as_bytes(piece: Any) -> Any:
    """A piece of a streamed body."""
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return piece
    return piece.encode() if isinstance(piece, str) else jsons.dumps(piece)
