"""Who may use the admin API. Decided by pure functions of the request's headers.

With a token set, only who has it. Without one, which only a loopback address may do, whoever is on this machine, but no
web page that a browser on it has open: its `Host` must be a name of this machine (a rebound DNS name is not), and what
changes something must not come from another origin.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from funcatron.errors import SettingsError
from funcatron.settings import Settings

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

PUBLIC = ("/health", "/ready", "/docs", "/api/openapi.yaml", "/api/openapi.json", "/static/")
"""Paths that tell nothing about the installation."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Guard:
    """The rule. `token` None: loopback only."""

    token: str | None

    def refuse(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Return why the request is refused, or None if it is welcome."""
        if method in SAFE and (path == "/" or path.startswith(PUBLIC)):
            return None
        if self.token is not None:
            return self._check_token(headers)
        if not is_loopback(_host_name(headers.get("host", ""))):
            return Refusal(403, "The Host header names another machine. Without a token only this machine is served.")
        if method not in SAFE and not _same_origin(headers):
            return Refusal(403, "The request comes from a page of another origin.")
        return None

    def _check_token(self, headers: Headers) -> Refusal | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), (self.token or "").encode()):
            return None
        what = "The bearer token is wrong." if scheme else "A bearer token is needed: Authorization: Bearer TOKEN."
        return Refusal(401, what)


def guard_for(settings: Settings) -> Guard:
    """Return the rule that the settings ask for. Raises SettingsError for an open address without a token."""
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    if token is not None and len(token) < 16:
        raise SettingsError("FUNCATRON_ADMIN_TOKEN is too short to be a secret: at least 16 characters")
    if token is None and not is_loopback(settings.admin_host):
        raise SettingsError(
            f"the admin API would be open to everybody who reaches {settings.admin_host}: set FUNCATRON_ADMIN_TOKEN to "
            "a long random text, or FUNCATRON_ADMIN_HOST to 127.0.0.1"
        )
    return Guard(token)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine itself, whatever a name server says."""
    host = host.strip("[]").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers) -> bool:
    """Programs send neither header; browsers send both with what changes something."""
    if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False
