"""The route table: which func queue takes a request. Pure values; a new table is built for every change.

The longest base path wins, on segment borders (`/api` does not take `/apix`); routes with the request's host come
before routes without a host. Where two versions share a route, `choose` says which of them takes a request.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Portion:
    """A version that shares a route, and how many of a hundred keys are its."""

    queue: str
    sha: str
    percent: int


@dataclass(frozen=True, slots=True)
class Route:
    """A host (None for any) and base path ("/" or "/x/y"), and the func queue that its requests go to.

    split: all who share it, if it is shared; `queue` and `sha` are the first one's then, for readers that know of no
    splits. sticky: the header, in lower case, whose value is the key; None for the request id.
    """

    host: str | None
    path: str
    queue: str
    name: str
    sha: str
    split: tuple[Portion, ...] = ()
    sticky: str | None = None
    limited: tuple[tuple[str, int], ...] = ()
    """Queues of these that are too deep, and after how many seconds their callers may come again."""

    @property
    def queues(self) -> tuple[str, ...]:
        """Every func queue that its requests may go to."""
        return tuple(portion.queue for portion in self.split) or (self.queue,)

    def to(self, queue: str) -> Route:
        """Return the plain route to one of its queues."""
        if not self.split:
            return self
        sha = next(portion.sha for portion in self.split if portion.queue == queue)
        return replace(self, queue=queue, sha=sha, split=(), sticky=None)

    def as_json(self) -> dict[str, Any]:
        """Return it as messages and the API show it."""
        shown: dict[str, Any] = {
            "host": self.host,
            "path": self.path,
            "queue": self.queue,
            "name": self.name,
            "sha": self.sha,
        }
        if self.limited:
            shown["limited"] = dict(self.limited)
        if not self.split:
            return shown
        split = [{"queue": one.queue, "sha": one.sha, "percent": one.percent} for one in self.split]
        return {**shown, "split": split} | ({"sticky": self.sticky} if self.sticky else {})

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Route:
        """Return the route that an entry of a `route` message tells of; it has followed its schema."""
        split = tuple(Portion(one["queue"], one["sha"], one["percent"]) for one in value.get("split", ()))
        return cls(
            value.get("host"),
            value["path"],
            value["queue"],
            value.get("name", ""),
            value.get("sha", ""),
            split,
            value.get("sticky"),
            tuple(value.get("limited", {}).items()),
        )


def choose(route: Route, key: str) -> str:
    """Return the func queue of the request with this key: its request id, or the value of the route's header.

    The keys are dealt out by their CRC-32 (that of zlib, ISO 3309) over UTF-8, modulo 100: the first portion has the
    numbers from 0 up to its percentage, the next one those after them, so that a key stays where it was when another
    is let in. `lua/funcatron/routes.lua` does the same.
    """
    if not route.split:
        return route.queue
    number = zlib.crc32(key.encode(errors="replace")) % 100
    for portion in route.split:
        number -= portion.percent
        if number < 0:
            return portion.queue
    return route.queue


def limit(route: Route, limits: Mapping[str, int]) -> Route:
    """Return a route that says which of its queues are too deep."""
    found = tuple((queue, limits[queue]) for queue in route.queues if queue in limits)
    return replace(route, limited=found) if found else route


class RouteTable:
    """An immutable table. `version` counts its changes, `epoch` names the Registry that counts them."""

    def __init__(self, routes: Iterable[Route] = (), version: int = 0, epoch: str = "") -> None:
        self.version = version
        self.epoch = epoch
        self._any = _Paths()
        self._hosts: dict[str, _Paths] = {}
        for route in routes:
            host = plain_host(route.host)
            paths = self._hosts.setdefault(host, _Paths()) if host else self._any
            paths.add(route)

    def __len__(self) -> int:
        return sum(len(paths.routes) for paths in (self._any, *self._hosts.values()))

    def find(self, host: str, path: str) -> Route | None:
        """Return the route of a request.

        host: lower case, without a port, "" if unknown. path: raw, as the client sent it, without the query.
        """
        paths = self._hosts.get(host)
        if paths is not None:
            route = paths.find(path)
            if route is not None:
                return route
        return self._any.find(path)

    def find_key(self, key: str) -> Route | None:
        """Return the route of a firehose routing key, which is host + path."""
        slash = key.find("/")
        return None if slash < 0 else self.find(key[:slash], key[slash:])

    @cached_property
    def limited(self) -> dict[str, int]:
        """The queues that are too deep, and after how many seconds their callers may come again."""
        return {queue: seconds for route in self.ordered for queue, seconds in route.limited}

    @cached_property
    def ordered(self) -> list[Route]:
        """All routes in the order to try one after another: exact hosts first, then longer paths first."""
        groups = [*(paths for _, paths in sorted(self._hosts.items())), self._any]
        return [route for paths in groups for route in paths.ordered()]


class _Paths:
    """The routes of one host, by base path without a trailing slash ("" is the root)."""

    __slots__ = ("depth", "routes")

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.depth = 0

    def add(self, route: Route) -> None:
        path = plain_path(route.path)
        self.routes[path] = route
        self.depth = max(self.depth, path.count("/"))

    def find(self, path: str) -> Route | None:
        """Try the path's prefixes from the longest that any route has; one dict look-up a segment."""
        routes = self.routes
        if not routes:
            return None
        parts = path.split("/", self.depth + 1)
        prefix = path if len(parts) <= self.depth + 1 else path[: -len(parts[-1]) - 1]
        if "%" in prefix:
            prefix = _decoded(prefix)
        while True:
            route = routes.get(prefix)
            if route is not None:
                return route
            cut = prefix.rfind("/")
            if cut < 0:
                return None
            prefix = prefix[:cut]

    def ordered(self) -> list[Route]:
        return [self.routes[path] for path in sorted(self.routes, key=lambda p: (-p.count("/"), -len(p), p))]


def plain_host(host: str | None) -> str:
    """Return a host as routes compare it: lower case, without port and trailing dot; "" for none."""
    if not host:
        return ""
    host = host.lower()
    if host.startswith("["):  # an IPv6 address
        return host[: host.find("]") + 1]
    return host.split(":", 1)[0].rstrip(".")


def plain_path(path: str) -> str:
    """Return a base path as routes compare it: decoded, without a trailing slash; "" for the root."""
    return _decoded(path).rstrip("/")


def _decoded(path: str) -> str:
    """Decode percent-encoding segment by segment; an encoded slash is no border between segments and stays as it is."""
    if "%" not in path:
        return path
    plain = [(segment, unquote(segment)) for segment in path.split("/")]
    return "/".join(raw if "/" in decoded else decoded for raw, decoded in plain)
