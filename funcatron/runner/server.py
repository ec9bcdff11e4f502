"""The Runner's life: start, run, and an end in a written order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path

import setproctitle
import uvloop

from funcatron import logs
from funcatron.brokers import open_broker
from funcatron.brokers.base import Broker
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
FLUSH = 5.0  # then what was said may take so long to reach the broker, s


class Runner:
    """One Runner process. `startup`, then `run` until `stop` is called, then `shutdown`."""

    def __init__(self, settings: Settings, runner_id: str, broker: Broker, pump: LogPump, run: Path) -> None:
        loop = asyncio.get_running_loop()
        token = settings.admin_token.get_secret_value() if settings.admin_token is not None else None
        self.settings, self.runner_id, self.broker = settings, runner_id, broker
        self.capacity = Capacity(default_limit())
        self.deadlines = Deadlines(loop)
        self.orphans = Orphans(loop)
        self.outbox = Outbox(broker, runner_id)
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
        )
        self._stop = asyncio.Event()
        self._closing = False

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    async def startup(self) -> None:
        """Connect (waits for the broker) and tell the Tron."""
        await asyncio.to_thread(self.cache.prepare)
        self.broker.on_change(self._changed)
        await self.broker.connect()
        await self.control.start()
        log.info("awake", extra={"runner": self.runner_id})

    async def run(self) -> None:
        """Serve until told to stop."""
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), TICK)
            except TimeoutError:
                self.funcs.tick()

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
    where = next((place for place in RUN if passable(Path(place)) and os.access(place, os.W_OK)), None)
    with tempfile.TemporaryDirectory(prefix="funcatron-", dir=where, ignore_cleanup_errors=True) as folder:
        run = Path(folder)
        os.chmod(folder, 0o711)  # hosts' users pass through to their own folders
        runner = Runner(settings, runner_id, open_broker(settings, f"runner {runner_id}"), pump, run)
        life = asyncio.current_task()
        assert life is not None

        def on_signal() -> None:
            if runner._stop.is_set():
                life.cancel()
            runner.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        starting = asyncio.ensure_future(runner.startup())
        stopped = asyncio.ensure_future(runner._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await runner.run()
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        stopped.cancel()
        await runner.shutdown()


def run(settings: Settings, runner_id: str | None = None) -> int:
    """Be a Runner until told to stop; returns the exit code."""
    name = runner_id or uuid.uuid4().hex[:12]
    setproctitle.setproctitle(f"funcatron runner {name}")
    logs.setup("runner", settings.log_level)
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
