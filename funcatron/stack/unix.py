"""HTTP over a Unix socket."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

CALL_TIMEOUT = 30.0


class UnixConnection(http.client.HTTPConnection):
    """A connection to the server that listens on a Unix socket, however long the socket's path is."""

    timeout: float

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT)
        self.path = path

    def connect(self) -> None:
        """Connect by way of the folder's descriptor: a socket's address may be 107 bytes long only (unix(7))."""
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)
