"""A client of the admin API, as the command line uses it. Answers are JSON objects as the API's document says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx

from funcatron.caller import ApiError, Caller, Json, TronAway, page_of
from funcatron.errors import Conflict, NotFound
from funcatron.settings import Settings

__all__ = ["ApiError", "Client", "TronAway"]

CHUNK = 256 * 1024
POLL = 0.2
"""Between two looks at a deployment that is waited for, s."""

UPLOAD_TIMEOUT = httpx.Timeout(150.0, connect=5.0)
"""Times of an upload, s: the Tron answers after it has inspected the bundle."""

ENDS = frozenset({"routed", "failed", "disabled"})

MATTERS = ("sha", "stage", "serving", "split", "enabled")
"""What must not have changed under who rolls back."""


class Client(Caller):
    """The calls of the admin API. Raises TronAway, NotFound, Conflict, or ApiError for all else that is refused."""

    @classmethod
    def of(cls, settings: Settings) -> Client:
        """Return the client that the settings ask for."""
        token = settings.admin_token.get_secret_value() if settings.admin_token else None
        return cls(settings.tron, token)

    # bundles

    def add_bundle(self, path: Path, progress: Callable[[int, int], None] | None = None) -> Json:
        """Store a bundle and return what it is. `progress` is told the bytes sent so far, and of all.

        Raises ApiError with every fault of the bundle and its spec.
        """
        size = path.stat().st_size

        def chunks() -> Iterator[bytes]:
            sent = 0
            with path.open("rb") as file:
                while data := file.read(CHUNK):
                    yield data
                    sent += len(data)
                    if progress is not None:
                        progress(sent, size)

        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        return self._json(
            "POST", "/api/v2/bundles", content=chunks(), headers=headers, timeout=UPLOAD_TIMEOUT, again=False
        )

    def bundles(self) -> list[Json]:
        """Return all stored bundles, the newest first."""
        return self._all("/api/v2/bundles", "bundles")

    def bundle(self, sha: str) -> Json:
        """Return what a bundle is, by its SHA or its first 8 digits or more."""
        return self._json("GET", f"/api/v2/bundles/{_part(sha)}")

    # deployments

    def deployments(self) -> list[Json]:
        """Return all deployments by name."""
        return self._all("/api/v2/deployments", "deployments")

    def deployment(self, name_or_sha: str) -> Json:
        """Describe a deployment, by its name or the beginning of its SHA."""
        return self._json("GET", f"/api/v2/deployments/{_part(name_or_sha)}")

    def deploy(
        self,
        name: str,
        sha: str,
        props: Json | None = None,
        settings: Json | None = None,
        limit: float | None = None,
    ) -> Json:
        """Begin to bring a stored SHA into service under a name; `wait` waits for the end of that.

        limit: how long it may take until it serves, s; then it has failed.
        """
        body = {"sha": sha, "props": props or {}, "settings": settings or {}} | _within(limit)
        return self._change("PUT", f"/api/v2/deployments/{_part(name)}", json=body)

    def undeploy(self, name_or_sha: str) -> Json:
        """Begin to take a deployment out of service; `wait_gone` waits for the end of that."""
        return self._change("DELETE", f"/api/v2/deployments/{_part(name_or_sha)}")

    def rollback(self, name: str, sha: str | None = None, limit: float | None = None) -> Json:
        """Begin to go back to what served before, or to the last version whose SHA begins so; `wait` waits for the end.

        It is done to the deployment as it is now: ApiError 412 if somebody else changes it at the same moment.
        """
        body, before = ({"sha": sha} if sha else {}) | _within(limit), self.deployment(name)
        while True:
            match = {"if-match": f'"{before["revision"]}"'}
            try:
                return self._change("POST", f"/api/v2/deployments/{_part(name)}/rollback", json=body, headers=match)
            except ApiError as err:
                now = self.deployment(name)
                if err.status != 412 or any(before[one] != now[one] for one in MATTERS):
                    raise
                before = now  # a queue has been drained meanwhile

    def split(
        self,
        name: str,
        shares: list[tuple[str, int]],
        *,
        sticky: str = "request-id",
        rollback_above: float | None = None,
        window: float | None = None,
        limit: float | None = None,
    ) -> Json:
        """Begin to let two SHAs serve side by side; `wait` with `split` waits for the end of that.

        shares: percentages by SHA. sticky: `request-id`, or `header:NAME`. rollback_above: at which share of errors in
        `window` seconds it ends by itself.
        """
        body: Json = {"shares": [{"sha": sha, "percent": percent} for sha, percent in shares], "sticky": sticky}
        guard = {"rollback-above": rollback_above, "window": window if rollback_above is not None else None}
        body |= {key: value for key, value in guard.items() if value is not None} | _within(limit)
        return self._change("PUT", f"/api/v2/deployments/{_part(name)}/split", json=body)

    def promote(self, name: str, sha: str) -> Json:
        """Give all requests to one version of a split."""
        return self._change("POST", f"/api/v2/deployments/{_part(name)}/promote", json={"sha": sha})

    def versions(self, name: str) -> list[Json]:
        """Return what has served under a name, the newest first."""
        return list(self._json("GET", f"/api/v2/deployments/{_part(name)}/versions")["versions"])

    def wait(
        self,
        name: str,
        sha: str,
        limit: float,
        on_stage: Callable[[Json], None] | None = None,
        *,
        split: bool = False,
    ) -> Json:
        """Wait until a SHA that was deployed serves or has failed, for `limit` seconds at most; returns the deployment
        as it is then. `on_stage` is told each new stage or detail. split: it shall serve beside another one.

        Raises Conflict when another SHA was deployed meanwhile, NotFound when it was undeployed.
        """
        until, told = time.monotonic() + limit, None
        while True:
            found = self._patiently(lambda: self.deployment(name))
            shares = found.get("split") or {"shares": []}
            theirs = {found["sha"]} | {share["sha"] for share in shares["shares"] if split}
            if sha not in theirs:
                raise Conflict(f"{name} was deployed with another SHA meanwhile: {found['sha'][:8]}")
            now = (found["stage"], found.get("detail"))
            if on_stage is not None and now != told:
                on_stage(found)
            told = now
            if found["stage"] in ENDS or time.monotonic() >= until:
                return found
            time.sleep(POLL)

    def wait_gone(self, name: str, limit: float) -> bool:
        """Wait until an undeployed deployment is forgotten; False if that takes longer than `limit` seconds."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            try:
                if self._patiently(lambda: self.deployment(name))["stage"] != "draining":
                    return True
            except NotFound:
                return True
            time.sleep(POLL)
        return False

    def history(self, name: str | None = None, limit: int = 100) -> list[Json]:
        """Return the last events, of one deployment or of all, the newest first."""
        return list(self.history_page(name, limit)["events"])

    def history_page(self, name: str | None = None, limit: int = 100, cursor: str | None = None) -> Json:
        """Return a page of events: `events`, and `next` if there are more, which is the next page's cursor."""
        path = f"/api/v2/deployments/{_part(name)}/history" if name else "/api/v2/history"
        return self._json("GET", path, params=page_of(limit, cursor))

    # scaling

    def scaling(self, name: str) -> Json:
        """Return what was set of a deployment's scaling, with its revision."""
        return self._json("GET", f"/api/v2/deployments/{_part(name)}/scaling")

    def set_scaling(self, name: str, wanted: Json, revision: int | None = None) -> Json:
        """Set a deployment's scaling, all of it. ApiError 412 if it is not at this revision any more."""
        match = {"if-match": f'"{revision}"'} if revision is not None else {}
        return self._change("PUT", f"/api/v2/deployments/{_part(name)}/scaling", json=wanted, headers=match)

    def decisions(self, name: str | None = None, limit: int = 100, cursor: str | None = None) -> Json:
        """Return a page of scaling decisions, about one deployment or all, the newest first: `decisions` and `next`."""
        return self._json("GET", _decisions(name), params=page_of(limit, cursor))

    def decisions_after(self, name: str | None, after: int) -> list[Json]:
        """Return the decisions that came after the one with this id, the oldest first."""
        return list(self._json("GET", _decisions(name), params={"after": after, "limit": 1000})["decisions"])

    # operating

    def trons(self) -> list[Json]:
        """Return the Trons, the one that leads first."""
        return list(self._json("GET", "/api/v2/trons")["trons"])

    def runners(self) -> list[Json]:
        """Return the Runners."""
        return list(self._json("GET", "/api/v2/runners")["runners"])

    def runner(self, runner_id: str) -> Json:
        """Return a Runner."""
        return self._patiently(lambda: self._json("GET", f"/api/v2/runners/{_part(runner_id)}"))

    def drain_runner(self, runner_id: str) -> Json:
        """Begin to take a Runner out of service."""
        return self._change("POST", f"/api/v2/runners/{_part(runner_id)}/drain")

    def status(self) -> Json:
        """Return the state of the installation."""
        return self._json("GET", "/api/v2/status")

    def routes(self) -> Json:
        """Return the route table."""
        return self._json("GET", "/api/v2/routes")

    def dead_letters(self, limit: int = 100) -> list[Json]:
        """Return the first dead letters, the oldest first."""
        return list(self._json("GET", "/api/v2/dead-letters", params={"limit": limit})["dead-letters"])

    def retry(self, letter_id: str) -> Json:
        """Send a dead letter again."""
        return self._change("POST", f"/api/v2/dead-letters/{_part(letter_id)}/retry")

    def drop(self, letter_id: str) -> None:
        """Throw a dead letter away."""
        self._call("DELETE", f"/api/v2/dead-letters/{_part(letter_id)}")

    def ready(self) -> bool:
        """Tell whether a Tron answers and dispatches."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False


def _within(limit: float | None) -> Json:
    return {} if limit is None else {"ready-within": limit}


def _decisions(name: str | None) -> str:
    return f"/api/v2/deployments/{_part(name)}/decisions" if name else "/api/v2/decisions"


def _part(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")
