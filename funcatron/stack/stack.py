"""The stack on this machine: bring it up, take it down, say how it is."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from funcatron.errors import SubstrateError
from funcatron.settings import Settings
from funcatron.stack import broker, frontend, ports, processes, readiness
from funcatron.stack.folders import Folders, StackError, write_private
from funcatron.stack.parts import Part, parts_of
from funcatron.stack.render import settings_file
from funcatron.stack.supervisor import Supervisor
from funcatron.substrates.process import folder

LOCK_TIMEOUT = 180.0
# a part that has ended and been started again so often while it was waited for will not become ready
START_TRIES = 3
# what an earlier stack has left may finish for so long, s
LEFT_GRACE = 10.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class PartStatus:
    """How one part is; memory in bytes, `up_for` in seconds, `ready` None where nothing can be asked."""

    name: str
    state: str
    pid: int
    up_for: int
    memory_bytes: int
    ready: bool | None
    note: str

    @property
    def fine(self) -> bool:
        """Does it do its work?"""
        return self.ready is True or (self.ready is None and self.state == "running")


class Stack:
    """The whole stack in one data folder. All methods block; `say` gets a sentence for each step."""

    def __init__(self, settings: Settings, say: Say | None = None) -> None:
        folders = Folders(settings.data)
        bodies = settings.bodies or folders.bodies
        self.settings = settings.model_copy(update={"data": folders.data, "bodies": bodies.absolute()})
        self.folders = folders
        self.supervisor = Supervisor(folders)
        self.say = say or (lambda _: None)

    def up(self) -> bool:
        """Start what does not run, wait until all of it is ready; return False if everything ran already.

        Idempotent. With other settings than the running stack's, that is stopped first. Raises StackError that names
        the port, the part or the program at fault.
        """
        self.folders.make()
        with self.locked():
            password = self.password()
            parts = parts_of(self.settings, self.folders, password)
            running = self.supervisor.running()
            if running and self.fingerprint(parts) != self.recorded():
                self.say("the settings have changed: stopping the running stack first")
                self.stop()
                running = False
            if not running:
                self.boot(parts, password)
            started = not running or not all(state.up for state in self.supervisor.states().values())
            self.start(parts)
            return started

    def boot(self, parts: list[Part], password: str) -> None:
        """Clear what an earlier stack left, check the ports, write the configuration, start the supervisor."""
        self.clear()
        folder.reopen(self.folders.data)
        ports.check(ports.ports_of(self.settings))
        (self.folders.run / "fingerprint").unlink(missing_ok=True)
        broker.write(self.settings, self.folders, password)
        frontend.write(self.settings, self.folders)
        write_private(self.folders.settings, settings_file(self.settings))
        self.supervisor.write(parts)
        self.supervisor.start()
        write_private(self.folders.run / "fingerprint", self.fingerprint(parts))

    def start(self, parts: list[Part]) -> None:
        """Start each part that is not up, in order; wait for each where the next one needs it."""
        checks = readiness.checks_of(self.settings, self.folders)
        for part in parts:
            self.supervisor.start_part(part.name)
            if part.name in {"epmd", "broker"}:
                self.await_ready(part.name, checks[part.name])
        for part in parts:
            if part.name not in {"epmd", "broker"}:
                self.await_ready(part.name, checks.get(part.name))

    def await_ready(self, name: str, check: readiness.Check | None) -> None:
        """Wait until a part is ready. Raises StackError with its last log lines when it fails or takes too long."""
        began = time.monotonic()
        if check is None:
            check = readiness.Check(lambda: self.supervisor.states()[name].state == "RUNNING", 15.0)
        failed = False
        seen: set[int] = set()

        def settled() -> bool:
            nonlocal failed
            state = self.supervisor.states()[name]
            seen.add(state.pid)
            failed = state.failed or len(seen - {0}) > START_TRIES
            return failed or check.ready()

        if not processes.wait_until(settled, check.timeout, every=0.1) or failed:
            what = "ends again and again" if failed else f"is not ready after {check.timeout:.0f} s"
            raise StackError(f"{name} {what}. Its last log lines:\n{self.tail(name)}\n(log: {self.log_of(name)})")
        self.say(f"{name} is ready ({time.monotonic() - began:.1f} s)")

    def down(self) -> bool:
        """Stop everything, gracefully; return False if nothing ran. No process of the stack is left."""
        if not self.folders.run.is_dir():
            return False
        with self.locked():
            ran = self.supervisor.running()
            if ran:
                self.stop()
            return self.clear() or ran

    def stop(self) -> None:
        """Have the supervisor stop all parts in their order, and itself."""
        waits = sum((self.settings.request_timeout, self.settings.func_timeout, 80.0))
        self.say("stopping: the Frontend first, then the Runners, the Tron, the broker")
        self.stop_added(waits)
        if not self.supervisor.stop(waits):
            self.say("the supervisor does not end in time: ending its processes")
        self.clear()

    def stop_added(self, waits: float) -> None:
        """Stop the Runners and Trons that the substrate has added, and let none be added any more. Before them goes the
        Frontend, which waits for what is in flight, at most `waits` seconds."""
        if self.added() and self.supervisor.states()["frontend"].up:
            self.supervisor.call("supervisor.stopProcess", "frontend", False)
            processes.wait_until(lambda: not self.supervisor.states()["frontend"].up, waits, every=0.1)
        self.clear_added(self.settings.substrate_grace)

    def clear_added(self, grace: float) -> None:
        """End what the substrate has added; what does not end within `grace` seconds is killed."""
        try:
            left = folder.stop_all(self.folders.data, grace)
        except SubstrateError as err:
            left = [str(err)]
        if left:
            self.say(f"of the substrate's processes remain: {', '.join(left)}")

    def added(self) -> list[folder.Row]:
        """Return the Runners and Trons that the substrate has added."""
        try:
            return folder.listing(self.folders.data)
        except SubstrateError as err:
            self.say(f"what the substrate runs is not known: {err}")
            return []

    def clear(self) -> bool:
        """End every process that is left of this data folder's stack; return whether there were any."""
        self.clear_added(LEFT_GRACE)
        found = processes.of_stack(self.folders.data)
        if found:
            self.say(f"ending what is left of an earlier run: {', '.join(str(process.pid) for process in found)}")
        remaining = processes.end(found)
        if remaining:
            names = "; ".join(f"{process.pid} {process.command}" for process in remaining)
            raise StackError(f"these processes of the stack cannot be ended: {names}")
        self.folders.supervisor_socket.unlink(missing_ok=True)
        return bool(found)

    def status(self) -> list[PartStatus]:
        """Return how each part is, in start order; empty if the stack does not run."""
        if not self.supervisor.running():
            return []
        checks = readiness.checks_of(self.settings, self.folders)
        return [
            PartStatus(
                name=state.name,
                state=state.state.lower(),
                pid=state.pid,
                up_for=int(time.time()) - state.started if state.up else 0,
                memory_bytes=processes.resident_bytes(state.pid) if state.pid else 0,
                ready=checks[state.name].ready() if state.name in checks else None,
                note="" if state.up else state.description,
            )
            for state in sorted(self.supervisor.states().values(), key=lambda state: start_order(state.name))
        ] + [
            PartStatus(row.id, str(row.state), row.pid, int(row.up_for), row.memory_bytes, None, row.note)
            for row in self.added()
        ]

    def log_of(self, name: str) -> str:
        """Return the path of a part's log."""
        return str(self.folders.log / f"{name}.log")

    def tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a part's log."""
        try:
            with open(self.log_of(name), errors="replace") as stream:
                return "".join(f"  {line}" for line in stream.readlines()[-lines:]).rstrip() or "  (it is empty)"
        except OSError:
            return "  (there is none)"

    def password(self) -> str:
        """Return the broker's password; it is made the first time."""
        given = self.settings.broker_password
        return given.get_secret_value() if given else self.folders.secret("broker")

    def fingerprint(self, parts: list[Part]) -> str:
        """Return a digest of everything that the running stack depends on."""
        texts = [settings_file(self.settings), frontend.render(self.settings, self.folders)]
        texts += [part.script() for part in parts]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()

    def recorded(self) -> str:
        """Return the digest of the stack that runs."""
        try:
            return (self.folders.run / "fingerprint").read_text()
        except OSError:
            return ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data folder's lock: one `up` or `down` at a time."""
        with self.folders.lock.open("a") as lock:

            def take() -> bool:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            if not take():
                self.say("another `up` or `down` is at work in this data folder: waiting for it")
                if not processes.wait_until(take, LOCK_TIMEOUT, every=0.2):
                    raise StackError(f"another `up` or `down` has held {self.folders.lock} for {LOCK_TIMEOUT:.0f} s")
            yield


def start_order(name: str) -> tuple[int, str]:
    """Return where a part comes in the order of starting."""
    kind = name.partition("-")[0]
    order = ("epmd", "broker", "tron", "runner", "frontend")
    return order.index(kind) if kind in order else len(order), name
