"""The Runner's life: start, run, and an end in a written order."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import setproctitle
import uvloop

from funcatron import logs, scheduling
from funcatron.brokers import open_broker
from funcatron.brokers.base import Broker
from funcatron.runner.bodies import Bodies
from funcatron.runner.cache import Cache, passable, place
from funcatron.runner.capacity import Capacity, default_limit
from funcatron.runner.control import Control
from funcatron.runner.deadlines import Deadlines
from funcatron.runner.fleet import TICK, Funcs
from funcatron.runner.func import Tools
from funcatron.runner.hostlog import LogPump
from funcatron.runner.orphans import Orphans
from funcatron.runner.outbox import Outbox
from funcatron.settings import Settings

log = logging.getLogger("funcatron.runner")

GRACE = 20.0  # calls in flight may take so long when the Runner is told to stop, s
RUN = (tempfile.gettempdir(), "/tmp", "/run", "/var/tmp")  # short paths, that hosts' users can pass through
SWEEP = 600.0  # between two looks for bodies that nobody came for, s
FLUSH = 5.0  # then what was said may take so long to reach the broker, s


class Runner:
    """One Runner process. `startup`, then `run` until `stop` is called, then `shutdown`."""

    def __init__(self, settings: Settings, runner_id: str, broker: Broker, pump: LogPump, run: Path) -> None:
        loop = asyncio.get_running_loop()
        token = settings.admin_token.get_secret_value() if settings.admin_token is not None else None
        self.settings, self.runner_id, self.broker = settings, runner_id, broker
        self.capacity = Capacity(settings.runner_hosts or default_limit(settings.most_runners))
        self.deadlines = Deadlines(loop)
        self.orphans = Orphans(loop)
        self.outbox = Outbox(broker, runner_id)
        self.bodies = Bodies(settings.bodies, settings.inline_body)
        self._swept = time.monotonic()
        self.cache = Cache(place(settings), settings.tron, token)
        self.funcs = Funcs(
            Tools(
                runner=runner_id,
                settings=settings,
                broker=broker,
                outbox=self.outbox,
                cache=self.cache,
                capacity=self.capacity,
                deadlines=self.deadlines,
                orphans=self.orphans,
                pump=pump,
                run=run,
                bodies=self.bodies,
            )
        )
        self.control = Control(
            runner_id,
            broker,
            self.outbox,
            self.funcs,
            control_queue=settings.control_queue,
            capacity={"hosts": self.capacity.limit},
            on_tron=self._tron_moved,
            on_die=self.stop,
            short=lambda: self.capacity.short,
        )
        self.funcs.news = self.control.hasten
        self._stop = asyncio.Event()
        self._closing = False

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    async def stopped(self) -> None:
        """Wait until it is told to stop."""
        await self._stop.wait()

    async def startup(self) -> None:
        """Connect (waits for the broker) and tell the Tron."""
        await asyncio.to_thread(self.cache.prepare)
        self.broker.on_change(self._changed)
        await self.broker.connect()
        await self.control.start()
        gc.collect()
        gc.freeze()  # what the start made stays: no collection needs to walk it again, which would be a pause
        log.info("awake", extra={"runner": self.runner_id})

    async def run(self) -> None:
        """Serve until told to stop."""
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), TICK)
            except TimeoutError:
                self._tick()

    async def shutdown(self, grace: float = GRACE) -> None:
        """Stop taking; give back what was not begun; finish what was, within `grace` seconds, or answer for it; say
        `died`; close."""
        log.info("stopping", extra={"runner": self.runner_id})
        await self.control.stop()
        await self.funcs.close(grace)
        try:
            await asyncio.wait_for(self.outbox.settle(), FLUSH)
        except TimeoutError:
            log.error("not all messages could be moved; the broker has them still")
        self.control.died()
        self.deadlines.close()
        self._closing = True
        await self.broker.close()
        self.cache.close()

    def _tick(self) -> None:
        try:
            self.funcs.tick()
            if time.monotonic() - self._swept > SWEEP:
                self._swept = time.monotonic()
                self.bodies.sweep(time.time())
        except Exception:  # looking after hosts must not end those that serve
            log.exception("looking after the hosts failed")

    def _changed(self, connected: bool) -> None:
        if connected:
            log.info("connected to the broker")
        if connected or self._closing:
            return
        log.warning("the connection to the broker is lost")
        self.orphans.disown(self.deadlines.items(), ())
        self.funcs.connection_lost()

    def _tron_moved(self, host: str, port: int) -> None:
        """The Tron says where it is; what the operator has set is not changed by that."""
        if self.settings.tron_url is None:
            self.cache.tron = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(settings: Settings, runner_id: str, pump: LogPump) -> None:
    """Run until SIGTERM or SIGINT; a second one ends at once what the first one lets finish."""
    loop = asyncio.get_running_loop()
    with run_folder(f"{settings.data.absolute()} {runner_id}") as folder:
        runner = Runner(settings, runner_id, open_broker(settings, f"runner {runner_id}"), pump, folder)
        life = asyncio.current_task()
        assert life is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: life.cancel() if runner.stopping else runner.stop())
        starting = asyncio.ensure_future(runner.startup())
        stopped = asyncio.ensure_future(runner.stopped())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            starting.result()
            await runner.run()
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        await runner.shutdown()


@contextmanager
def run_folder(owner: str) -> Iterator[Path]:
    """Make the folder of the hosts' sockets: a short path, that hosts' users can pass through, one an owner (a text).

    What a Runner of the same name left behind when it was killed goes.
    """
    root = next((place for place in RUN if passable(Path(place)) and os.access(place, os.W_OK)), RUN[0])
    folder = Path(root) / f"funcatron-{os.geteuid()}-{hashlib.sha256(owner.encode()).hexdigest()[:12]}"
    if folder.is_dir() and not folder.is_symlink() and folder.lstat().st_uid == os.geteuid():
        shutil.rmtree(folder)
    try:
        folder.mkdir(mode=0o711)
    except FileExistsError:  # somebody else's
        folder = Path(tempfile.mkdtemp(prefix="funcatron-", dir=root))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(settings: Settings, runner_id: str | None = None) -> int:
    """Be a Runner until told to stop; returns the exit code."""
    name = runner_id or uuid.uuid4().hex[:12]
    setproctitle.setproctitle(f"funcatron runner {name}")
    logs.setup("runner", settings.log_level)
    scheduling.in_batches()
    pump = LogPump("runner", sys.stderr)
    logging.getLogger().handlers[:] = [pump]
    pump.start()
    try:
        uvloop.run(serve(settings, name, pump))
    except asyncio.CancelledError:
        return 1
    finally:
        pump.close()
    return 0
