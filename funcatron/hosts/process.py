"""One running Func host, whatever its language: starts it, passes calls to it and answers back, sees it die.

Everything here runs on one event loop. The order of a start: private folder and socket, process, limits, connection
(checked to be that process), `load`, `loaded`. The order of an end: the whole process group is killed, what it still
wrote is read, calls that wait are told, `on_exit`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from funcatron.errors import HostError, LoadError
from funcatron.hosts import protocol, usage
from funcatron.hosts.base import HostDriver, Limits, Prepared, User
from funcatron.hosts.pipes import Lines, OnLog, record
from funcatron.hosts.spawn import environment, hint, spawn

START_TIMEOUT = 30.0  # until the process has connected
LOAD_TIMEOUT = 120.0  # until the bundle is loaded
LINGER = 0.5  # after the process ended, for what it left in socket and pipes


@dataclass(slots=True)
class Answer:
    """What a host answered. `failed`: user code raised, and the trace is in the log."""

    status: int
    headers: list[list[str]] = field(default_factory=list)
    body: bytes | bytearray | memoryview = b""
    reason: str | None = None
    failed: bool = False
    error: dict[str, Any] | None = None
    authorized: bool = False  # the outcome of `authorize`: the request may pass


Done = Callable[[Answer | None], None]
OnExit = Callable[["Host", int | None], None]


class Host(asyncio.Protocol):
    """A running host. Make one with `Host.start`; all methods are for the event loop's thread."""

    def __init__(self, load: Mapping[str, Any], on_log: OnLog, on_exit: OnExit) -> None:
        self.pid = 0
        self.operations: dict[str, Any] = {}
        self.python = ""
        self._sha: str = load.get("sha", "")
        self._on_log, self._on_exit = on_log, on_exit
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Done] = {}
        self._partial: dict[int, tuple[Answer, bytearray]] = {}
        self._serial = 0
        self._out: list[bytes | bytearray | memoryview] = []
        self._decoder = protocol.Decoder()
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._lines: list[Lines] = []
        self._last: deque[str] = deque(maxlen=20)  # of what it wrote, to explain a failed start
        self._loaded: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._gone = asyncio.Event()  # the connection
        self._ended = asyncio.Event()  # everything
        self._stopping = False
        self._folder: Path | None = None
        self._burial: asyncio.Task[None] | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    @classmethod
    async def start(
        cls,
        driver: HostDriver,
        prepared: Prepared,
        load: Mapping[str, Any],
        *,
        on_log: OnLog,
        on_exit: OnExit,
        limits: Limits | None = None,
        user: User | None = None,
        run: Path | None = None,
    ) -> Host:
        """Start a host and load the bundle into it.

        `load` is the `load` message without type, version and bundle folder; `run` is where the host's private folder
        is made.
        `on_exit` is called once, and only for a host that was loaded, with the exit code (negative: the signal).
        Raises LoadError with everything that is wrong with the bundle, HostError when the host cannot run.
        """
        host = cls(load, on_log, on_exit)
        command = driver.command(prepared)
        try:
            listener = host._listen(run, user)
            try:
                assert host._folder is not None
                env = environment(command, host._folder, host._folder / "socket")
                host._adopt(spawn(command, env, limits or Limits(), user))
                connection = await host._within(host._loop.sock_accept(listener), START_TIMEOUT, "did not connect")
            finally:
                listener.close()
            await host._connect(connection[0])
            message = {**load, "type": "load", "version": protocol.VERSION, "bundle": str(command.cwd)}
            host._write(protocol.encode(message))
            loaded = await host._within(host._loaded, LOAD_TIMEOUT, "did not load the bundle")
        except BaseException as err:
            host.kill()
            await host._buried()
            reason = hint(command, user) if isinstance(err, HostError) else ""
            if reason:
                raise HostError(f"{err}{reason}") from err
            raise
        host.operations, host.python = loaded.get("operations", {}), str(loaded.get("python", ""))
        host._exited.add_done_callback(lambda _: host._bury())  # soon, also when it has ended already
        return host

    def _listen(self, run: Path | None, user: User | None) -> socket.socket:
        """Make the private folder, that only the host's user can enter, and the socket in it."""
        self._folder = Path(tempfile.mkdtemp(prefix="funcatron-host-", dir=run))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(str(self._folder / "socket"))
            listener.listen(1)
            if user is not None:
                os.chown(self._folder / "socket", user.uid, user.gid)
                os.chown(self._folder, user.uid, user.gid)
        except OSError as err:
            listener.close()
            raise HostError(f"cannot listen in {self._folder}: {err}") from err
        return listener

    def _adopt(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self.pid = process, process.pid
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._exit)
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert pipe is not None
            self._lines.append(Lines(self._loop, pipe.fileno(), name, self._log))

    async def _connect(self, connection: socket.socket) -> None:
        peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if peer != self.pid:
            connection.close()
            raise HostError(f"process {peer} connected in place of the Func host {self.pid}")
        assert self._folder is not None
        (self._folder / "socket").unlink(missing_ok=True)
        connection.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=connection)

    async def _within(self, awaitable: Any, seconds: float, failure: str) -> Any:
        """Await a step of the start, but no longer than `seconds` and no longer than the process lives."""
        step = asyncio.ensure_future(awaitable)
        done, _ = await asyncio.wait({step, self._exited}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if step in done:
            return step.result()
        if done:  # what it sent before it ended may not have been read yet
            await asyncio.wait({step}, timeout=LINGER)
            if step.done():
                return step.result()
        step.cancel()
        for lines in self._lines:
            lines.drain()
        said = "".join(f"\n  {line}" for line in self._last)
        what = describe_exit(self._exited.result()) if done else f"took more than {seconds:g} s"
        raise HostError(f"the Func host {failure}: it {what}{said}")

    def _exit(self) -> None:
        """The process ended: end its children too, before its id can be used again."""
        assert self._process is not None
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._exited.set_result(self._process.wait())

    def _bury(self) -> None:
        self._burial = self._loop.create_task(self._after_exit())

    async def _after_exit(self) -> None:
        await self._buried()
        code = self._exited.result()
        if not self._stopping:
            self._log(record("error", f"the Func host {self.pid} {describe_exit(code)}", calls=len(self._calls)))
        calls, self._calls = self._calls, {}
        for done in calls.values():
            done(None)
        self._on_exit(self, code)
        self._ended.set()

    async def _buried(self) -> None:
        """Read what is left of an ended process, then free all that it had."""
        if self._process is not None:
            await self._exited
            if self._transport is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._gone.wait(), LINGER)
                self._transport.abort()
                await self._gone.wait()
            for lines in self._lines:
                lines.drain()
                lines.close()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def stop(self, grace: float) -> None:
        """Let the host finish its calls and exit; kill it after `grace` seconds. Returns when it is gone."""
        self._stopping = True
        if not self._exited.done():
            self._write(protocol.encode({"type": "stop"}))
            await asyncio.wait({self._exited}, timeout=grace)
            self.kill()
        await self._ended.wait()

    def kill(self) -> None:
        """Kill the host and everything that it started, now. Its calls get None, `on_exit` follows."""
        self._stopping = True  # wanted, so nothing to report
        self._kill_group()

    def _kill_group(self) -> None:
        if self._process is not None and not self._exited.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    # -- calls --------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and not self._exited.done()

    def call(self, header: dict[str, Any], body: bytes | bytearray | memoryview, done: Done) -> int:
        """Pass a call on; `header` is the `call` message without type and id, and belongs to the host from now on.

        `done` gets the answer, or None when the host dies. Returns the call's id, for `cancel`.
        """
        header["type"] = "call"
        context = orjson.dumps(header.pop("context", {}))
        header["context-length"] = len(context)
        return self._send(header, context, body, done)

    def authorize(self, header: dict[str, Any], done: Done) -> int:
        """Run only the security plan of a request; the answer is a refusal, or has `authorized`."""
        header["type"] = "authorize"
        context = orjson.dumps(header.pop("context", {}))
        header["context-length"] = len(context)
        return self._send(header, context, b"", done)

    def _send(self, header: dict[str, Any], context: bytes, body: bytes | bytearray | memoryview, done: Done) -> int:
        self._serial += 1
        header["id"] = self._serial
        start = protocol.encode(header, len(context) + len(body))
        if self._exited.done() or self._transport is None:
            self._loop.call_soon(done, None)
            return self._serial
        self._calls[self._serial] = done
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(start)
        out.append(context)
        if body:
            out.append(body)
        return self._serial

    def cancel(self, call_id: int) -> None:
        """Ask the host to give a call up. Its answer still comes, with status 504 if it yields; else kill the host."""
        if call_id in self._calls:
            self._write(protocol.encode({"type": "cancel", "id": call_id}))

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        """Write what one turn of the loop has gathered, small pieces joined, large ones as they are."""
        out, self._out = self._out, []
        if self._transport is None or self._transport.is_closing():
            return
        small: list[bytes | bytearray | memoryview] = []
        for piece in out:
            if len(piece) <= protocol.SMALL:
                small.append(piece)
                continue
            if small:
                self._transport.write(b"".join(small))
                small = []
            self._transport.write(piece)
        if small:
            self._transport.write(small[0] if len(small) == 1 else b"".join(small))

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except HostError as err:
            self._broken(str(err))
            return
        for header, body in frames:
            handler = _HANDLERS.get(header["type"])
            if handler is None:
                self._broken(f"a frame of type {header['type']!r}")
                return
            try:
                handler(self, header, body)
            except (KeyError, TypeError, ValueError) as err:
                self._broken(f"a wrong {header['type']} frame: {err!r}")
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._kill_group()  # without its socket it is of no use

    def _broken(self, what: str) -> None:
        self._log(record("error", f"the Func host {self.pid} broke its protocol, it is killed: {what}"))
        self.kill()

    def _loaded_frame(self, header: dict[str, Any], body: Any) -> None:
        if not self._loaded.done():
            self._loaded.set_result(header)

    def _load_failed(self, header: dict[str, Any], body: Any) -> None:
        if not self._loaded.done():
            self._loaded.set_exception(LoadError("the bundle cannot be loaded", [str(e) for e in header["errors"]]))

    def _answer(self, header: dict[str, Any], body: bytes | bytearray | memoryview) -> None:
        call_id = header["id"]
        answer = Answer(_status(header), header["headers"], body)
        if len(header) > 4:
            answer.reason = header.get("reason")
            answer.failed = header.get("failed", False)
            answer.error = header.get("error")
            if header.get("more"):
                if call_id in self._calls:
                    self._partial[call_id] = (answer, bytearray(body))
                return
        done = self._calls.pop(call_id, None)
        if done is not None:
            done(answer)

    def _chunk(self, header: dict[str, Any], body: bytes | bytearray | memoryview) -> None:
        call_id = header["id"]
        if call_id not in self._partial:
            return  # given up: it had grown too large
        answer, whole = self._partial[call_id]
        whole += body
        too_large = len(whole) > protocol.MAX_BODY
        if too_large:
            self.cancel(call_id)
            detail = f"more than {protocol.MAX_BODY} bytes"
            answer = Answer(500, failed=True, error={"kind": "too-large", "detail": detail})
        elif header.get("more"):
            return
        else:
            answer.body = whole
            answer.failed = header.get("failed", False)
            answer.error = header.get("error")
        del self._partial[call_id]
        done = self._calls.pop(call_id, None)
        if done is not None:
            done(answer)

    def _authorized(self, header: dict[str, Any], body: Any) -> None:
        done = self._calls.pop(header["id"], None)
        if done is not None:
            done(Answer(0, authorized=True))

    def _pong(self, header: dict[str, Any], body: Any) -> None:
        done = self._calls.pop(header["id"], None)
        if done is not None:
            done(Answer(0))

    def ping(self, done: Done) -> int:
        """Ask whether the host still reads its socket."""
        return self._send({"type": "ping"}, b"", b"", done)

    def _log_frame(self, header: dict[str, Any], body: Any) -> None:
        self._log(header)

    def _log(self, line: dict[str, Any]) -> None:
        if not self._loaded.done():
            self._last.append(str(line.get("message", "")))
        line["sha"] = self._sha
        self._on_log(line)

    # -- figures ------------------------------------------------------------------------------------------------

    def rss(self) -> int:
        """Resident memory, bytes."""
        return usage.rss(self.pid)

    def cpu(self) -> float:
        """CPU seconds since it started."""
        return usage.cpu(self.pid)


_Handler = Callable[[Host, dict[str, Any], Any], None]
_HANDLERS: dict[str, _Handler] = {
    "answer": Host._answer,
    "chunk": Host._chunk,
    "authorized": Host._authorized,
    "log": Host._log_frame,
    "loaded": Host._loaded_frame,
    "load-failed": Host._load_failed,
    "pong": Host._pong,
}


def _status(header: Mapping[str, Any]) -> int:
    status = header["status"]
    if type(status) is not int or not 200 <= status <= 599 or type(header["headers"]) is not list:
        raise ValueError(f"status {status!r}")
    return status


def describe_exit(code: int) -> str:
    """Say how a process ended: `exited with code 3`, `was killed by SIGSEGV`."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hints: dict[int, str] = {
        signal.SIGKILL: " (out of memory, or somebody killed it)",
        signal.SIGXCPU: " (it used all the CPU seconds that its limit allows)",
    }
    return f"was killed by {name}{hints.get(-code, '')}"
