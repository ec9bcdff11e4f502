"""Starts the host: connect, load, serve, until the Runner says stop."""

from __future__ import annotations

import faulthandler
import logging
import os
import platform
import socket
import sys

from . import output as output_module
from . import system, threads
from .service import Service
from .wire import Reader, Sender, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional


def main() -> None:
    """Run the host. `sys.argv` is unused but for its room, which the process title takes."""
    failed = []
    faulthandler.enable(2)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(os.environ.pop("FUNCATRON_SOCKET"))
    reader, sender = Reader(sock), Sender(sock)
    first = reader.read()
    if first is None:
        return
    message = first[0][0]
    failed.append(system.set_title(f"funcatron host {message.get('sha', '')[:8]}"))
    if not _serve(sock, message, reader, sender, failed):
        sys.exit(1)


def _serve(sock: socket.socket, message: Dict[str, Any], reader: Reader, sender: Sender, failed: Any) -> bool:
    """Load and serve; True when the end was asked for."""
    settings = message.get("settings") or {}
    service: Optional[Service] = None
    output = output_module.Output(sender, lambda: service.urge() if service else sender.flush())
    streams = output_module.install(output, settings.get("log-level") or "INFO")
    threads.install()
    os.register_at_fork(after_in_child=lambda: _in_child(sock))
    for text in filter(None, failed):
        output.emit("warning", "funcatron.host", text)
    _paths(message["bundle"])
    service = Service(reader, sender, output, streams)
    outcome = service.load(message)
    outcome.update({"pid": os.getpid(), "python": platform.python_version()})
    sender.put(frame(outcome))
    sender.flush()
    if outcome["type"] != "loaded":
        return False
    _forget_arguments()
    engine = service.serve(int(settings.get("concurrency") or 1))
    engine.stopped.wait()
    output.settle()
    sender.flush()
    return True


def _paths(folder: str) -> None:
    """The bundle's code first, the host's own folder last, where `funcatron` is found unless the bundle has one."""
    own = sys.path.pop(0)
    while folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    sys.path += [own, os.path.join(own, "facade")]


def _in_child(sock: socket.socket) -> None:
    """A fork of the host, by multiprocessing for example, prints to the pipes: the socket is not its own."""
    sock.close()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    logging.getLogger().handlers[:] = [logging.StreamHandler(sys.stderr)]


def _forget_arguments() -> None:
    sys.argv[:] = ["funcatron-host"]
