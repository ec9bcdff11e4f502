"""The process of a Tron: `run` is what `funcatron tron` calls."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
from collections.abc import Iterator

import setproctitle
import uvicorn
import uvloop
from starlette.types import ASGIApp

from funcatron import logs, scheduling
from funcatron.brokers import open_broker
from funcatron.errors import FuncatronError, SettingsError
from funcatron.settings import Settings
from funcatron.substrates import open_substrate
from funcatron.tron.scalers import Scalers
from funcatron.tron.tron import Tron
from funcatron.tron.web.app import create_app
from funcatron.tron.web.edge import Edge

log = logging.getLogger("funcatron.tron")

HTTP_GRACE = 5
"""How long requests of the admin API may go on once it stops, s."""


def run(settings: Settings) -> int:
    """Run a Tron until SIGTERM or SIGINT; returns the exit status.

    Raises SettingsError, or WrongTables: what only a person can put right. Stores that are away are waited for.
    """
    logs.setup("tron", settings.log_level)
    for chatty in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    setproctitle.setproctitle("funcatron tron")
    scheduling.in_batches()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))


async def serve(settings: Settings) -> int:
    """Startup, main loop, shutdown."""
    listener = listen(settings.admin_host, settings.admin_port)
    try:
        # port 0 is any that is free
        tron = Tron(
            settings.model_copy(update={"admin_port": listener.getsockname()[1]}),
            open_broker(settings, "funcatron tron"),
        )
        scalers = Scalers(open_substrate(tron.settings))
        scalers.attach(tron)
        app = create_app(tron)
        await tron.open()
    except FuncatronError:
        listener.close()
        raise
    try:
        return await _serve(tron, app, listener)
    finally:
        await scalers.close()


async def _serve(tron: Tron, app: Edge, listener: socket.socket) -> int:
    stop = _stop_signal()
    server = _Server(http_config(app))
    serving = asyncio.create_task(server.serve([listener]), name="admin API")
    work = tron.start()
    gc.collect()
    gc.freeze()  # what the start made stays; collections that walk it again and again are pauses in dispatching
    log.info("admin API at %s", tron.address.url)
    stopped = asyncio.create_task(stop.wait(), name="stop signal")
    await asyncio.wait({serving, stopped, work}, return_when=asyncio.FIRST_COMPLETED)
    # the order of stopping: the API (a deploy that is asked for is refused or finished), then dispatching and leading,
    # then what is in hand (Tron.shutdown)
    server.should_exit = True
    await asyncio.wait({serving})
    stopped.cancel()
    wrong = work.exception() if work.done() else None
    await tron.shutdown()
    await app.close()
    if wrong is not None:
        raise wrong
    failed = serving.exception()
    if failed is not None:
        log.error("the admin API failed", exc_info=failed)
        return 1
    log.info("stopped")
    return 0


def http_config(app: ASGIApp) -> uvicorn.Config:
    """Return how the admin API is served: logging and signals are the Tron's."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=HTTP_GRACE,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError that names the setting when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as err:
        listener.close()
        if err.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"port {port} of {host} is taken by another program: stop it, or set FUNCATRON_ADMIN_PORT"
            ) from err
        raise SettingsError(
            f"cannot listen on {host}:{port}: {err.strerror}; set FUNCATRON_ADMIN_HOST or FUNCATRON_ADMIN_PORT"
        ) from err
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the Tron stops in an order of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
