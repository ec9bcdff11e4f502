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
from pathlib import Path
from typing import Any

from funcatron.errors import HostError, LoadError
from funcatron.hosts import protocol, usage
from funcatron.hosts.base import HostDriver, Limits, Prepared, User
from funcatron.hosts.link import Link
from funcatron.hosts.pipes import Lines, OnLog, record
from funcatron.hosts.spawn import environment, hint, spawn

START_TIMEOUT = 30.0  # until the process has connected
LOAD_TIMEOUT = 120.0  # until the bundle is loaded
LINGER = 0.5  # after the process ended, for what it left in socket and pipes

OnExit = Callable[["Host", int | None], None]


class Host(Link):
    """A running host. Make one with `Host.start`; all methods are for the event loop's thread."""

    def __init__(self, load: Mapping[str, Any], on_log: OnLog, on_exit: OnExit) -> None:
        super().__init__()
        self.pid = 0
        self.operations: dict[str, Any] = {}
        self.python = ""
        self._sha: str = load.get("sha", "")
        self._on_log, self._on_exit = on_log, on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._lines: list[Lines] = []
        self._last: deque[str] = deque(maxlen=20)  # of what it wrote, to explain a failed start
        self._loaded: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._ended = asyncio.Event()
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
            host.write(protocol.encode(message))
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
            self._log(record("error", f"the Func host {self.pid} {describe_exit(code)}", calls=self.in_flight))
        self.abandon()
        self._on_exit(self, code)
        self._ended.set()

    async def _buried(self) -> None:
        """Read what is left of an ended process, then free all that it had."""
        if self._process is not None:
            await self._exited
            if self._transport is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.lost.wait(), LINGER)
                self._transport.abort()
                await self.lost.wait()
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
            self.write(protocol.encode({"type": "stop"}))
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

    # -- what Link leaves open ----------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and not self._exited.done()

    def connection_lost(self, exc: Exception | None) -> None:
        """Without its socket a host is of no use."""
        super().connection_lost(exc)
        self._kill_group()

    def broken(self, what: str) -> None:
        """See Link."""
        self._log(record("error", f"the Func host {self.pid} broke its protocol, it is killed: {what}"))
        self.kill()

    def other(self, header: dict[str, Any]) -> None:
        """See Link."""
        kind = header["type"]
        if kind == "log":
            self._log(header)
        elif kind not in ("loaded", "load-failed") or self._loaded.done():
            raise ValueError(kind)
        elif kind == "loaded":
            self._loaded.set_result(header)
        else:
            self._loaded.set_exception(LoadError("the bundle cannot be loaded", [str(e) for e in header["errors"]]))

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
