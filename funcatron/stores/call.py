"""One call of the database, between the event loop that waits for it and the thread that makes it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class GivenUp(Exception):
    """Nobody waits for the call any more."""


class Call:
    """Whether somebody still waits for it, and how far it is: a call that was given up never commits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self._given_up = False
        self.committing = False

    def give_up(self, *, late: bool = False) -> bool:
        """Wait for it no more: it is cut off, and changes nothing. False if its commit is on the way already, which is
        let go on unless it is `late`: then it is cut off as well, and what came of it is not known."""
        with self._lock:
            if not self.committing or late:
                self._given_up = True
                _cut(self._connection)
            return not self.committing

    def check(self) -> None:
        """Raise GivenUp if nobody waits."""
        with self._lock:
            self._check()

    def commit(self) -> None:
        """Begin to commit. Raises GivenUp if nobody waits."""
        with self._lock:
            self._check()
            self.committing = True

    @contextmanager
    def on(self, connection: Any) -> Iterator[None]:
        """Use a driver's connection, which is cut if the call is given up meanwhile."""
        with self._lock:
            self._check()
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def _check(self) -> None:
        if self._given_up:
            raise GivenUp


def _cut(connection: Any) -> None:
    """Make whoever waits on a driver's connection stop at once. psycopg has a socket, sqlite3 can be interrupted."""
    if connection is None:
        return
    if hasattr(connection, "interrupt"):
        connection.interrupt()
    elif not connection.closed:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)
