"""Is a part ready? Asked from outside, as its clients would."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from dataclasses import dataclass

from funcatron.settings import Settings
from funcatron.stack import broker, frontend
from funcatron.stack.folders import Folders
from funcatron.stack.unix import UnixConnection

PROBE_TIMEOUT = 2.0


@dataclass(frozen=True)
class Check:
    """A question that can be asked again and again, and how long to go on asking, s."""

    ready: Callable[[], bool]
    timeout: float


def checks_of(settings: Settings, folders: Folders) -> dict[str, Check]:
    """Return the check of each part that can be asked from outside."""
    admin = "127.0.0.1" if settings.admin_host in {"0.0.0.0", "::"} else settings.admin_host
    own = broker.LISTENER
    status = folders.data / frontend.STATUS_SOCKET
    checks = {
        "epmd": Check(lambda: listens(own, settings.epmd_port), 10.0),
        "broker": Check(lambda: listens(own, settings.amqp_port) and listens(own, settings.stomp_port), 90.0),
        "tron": Check(lambda: answers(http.client.HTTPConnection(admin, settings.admin_port), "/ready"), 60.0),
        "frontend": Check(lambda: answers(UnixConnection(status), "/__ready"), 60.0),
    }
    if not broker.is_own(settings):
        del checks["epmd"], checks["broker"]
    return checks


def listens(host: str, port: int) -> bool:
    """Does anybody accept connections there?"""
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT):
            return True
    except OSError:
        return False


def answers(connection: http.client.HTTPConnection, path: str) -> bool:
    """Does a GET give 200?"""
    connection.timeout = PROBE_TIMEOUT
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
