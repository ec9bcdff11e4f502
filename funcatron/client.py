"""A client of the admin API, as the command line uses it. Answers are JSON objects as the API's document says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from funcatron import __version__
from funcatron.errors import Conflict, FuncatronError, NotFound
from funcatron.settings import Settings

CHUNK = 256 * 1024
POLL = 0.2
"""Between two looks at a deployment that is waited for, s."""

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
UPLOAD_TIMEOUT = httpx.Timeout(150.0, connect=5.0)
"""Times of an upload, s: the Tron answers after it has inspected the bundle."""

ENDS = frozenset({"routed", "failed", "disabled"})

Json = dict[str, Any]


class TronAway(FuncatronError):
    """No Tron answers."""


class ApiError(FuncatronError):
    """The Tron refused a call. `status`: of HTTP; `errors`: each fault with `where` and `what`."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, str]], request_id: str | None) -> None:
        faults = "".join(f"\n- {one.get('what', '')}" for one in errors)
        super().__init__(detail + faults)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.request_id = request_id


class Client:
    """Calls a Tron. Raises TronAway, NotFound, Conflict, or ApiError for everything else that is refused."""

    def __init__(self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"user-agent": f"funcatron/{__version__}"} | ({"authorization": f"Bearer {token}"} if token else {})
        self.url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, transport=transport, trust_env=False)

    @classmethod
    def of(cls, settings: Settings) -> Client:
        """Return the client that the settings ask for."""
        token = settings.admin_token.get_secret_value() if settings.admin_token else None
        return cls(settings.tron, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _err: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

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
        return self._json("POST", "/api/v2/bundles", content=chunks(), headers=headers, timeout=UPLOAD_TIMEOUT)

    def bundles(self) -> list[Json]:
        """Return all stored bundles, the newest first."""
        return list(self._json("GET", "/api/v2/bundles")["bundles"])

    def bundle(self, sha: str) -> Json:
        """Return what a bundle is, by its SHA or its first 8 digits or more."""
        return self._json("GET", f"/api/v2/bundles/{_part(sha)}")

    # deployments

    def deployments(self) -> list[Json]:
        """Return all deployments by name."""
        return list(self._json("GET", "/api/v2/deployments")["deployments"])

    def deployment(self, name_or_sha: str) -> Json:
        """Describe a deployment, by its name or the beginning of its SHA."""
        return self._json("GET", f"/api/v2/deployments/{_part(name_or_sha)}")

    def deploy(self, name: str, sha: str, props: Json | None = None, settings: Json | None = None) -> Json:
        """Begin to bring a stored SHA into service under a name; `wait` waits for the end of that."""
        body = {"sha": sha, "props": props or {}, "settings": settings or {}}
        return self._json("PUT", f"/api/v2/deployments/{_part(name)}", json=body)

    def undeploy(self, name_or_sha: str) -> Json:
        """Begin to take a deployment out of service; `wait_gone` waits for the end of that."""
        return self._json("DELETE", f"/api/v2/deployments/{_part(name_or_sha)}")

    def wait(self, name: str, sha: str, limit: float, on_stage: Callable[[Json], None] | None = None) -> Json:
        """Wait until a SHA that was deployed serves or has failed, for `limit` seconds at most; returns the deployment
        as it is then. `on_stage` is told each new stage or detail.

        Raises Conflict when another SHA was deployed meanwhile, NotFound when it was undeployed.
        """
        until = time.monotonic() + limit
        told: tuple[Any, Any] | None = None
        while True:
            found = self.deployment(name)
            if found["sha"] != sha:
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
                if self.deployment(name)["stage"] != "draining":
                    return True
            except NotFound:
                return True
            time.sleep(POLL)
        return False

    def history(self, name: str | None = None, limit: int = 100) -> list[Json]:
        """Return the last events, of one deployment or of all, the newest first."""
        path = f"/api/v2/deployments/{_part(name)}/history" if name else "/api/v2/history"
        return list(self._json("GET", path, params={"limit": limit})["events"])

    # operating

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
        return self._json("POST", f"/api/v2/dead-letters/{_part(letter_id)}/retry")

    def drop(self, letter_id: str) -> None:
        """Throw a dead letter away."""
        self._call("DELETE", f"/api/v2/dead-letters/{_part(letter_id)}")

    def ready(self) -> bool:
        """Tell whether a Tron answers and dispatches."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def _json(self, method: str, path: str, **options: Any) -> Json:
        response = self._call(method, path, **options)
        try:
            found = response.json()
        except ValueError as err:
            raise ApiError(response.status_code, f"{self.url} is no Tron: it answers no JSON", [], None) from err
        if not isinstance(found, dict):
            raise ApiError(
                response.status_code, f"{self.url} answers in a way that this client does not know", [], None
            )
        return found

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError as err:
            raise TronAway(f"no Tron answers at {self.url}: start the stack with `make up`, or set --tron-url") from err
        except httpx.HTTPError as err:
            raise TronAway(f"the Tron at {self.url} did not answer: {err or type(err).__name__}") from err
        if response.is_success:
            return response
        raise _error(response)


def _error(response: httpx.Response) -> FuncatronError:
    problem: Json = {}
    with suppress(ValueError):
        found = response.json()
        problem = found if isinstance(found, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    if response.status_code == 404:
        return NotFound(detail)
    if response.status_code == 409:
        return Conflict(detail)
    if response.status_code == 401:
        detail += " Set FUNCATRON_ADMIN_TOKEN, or --token."
    return ApiError(response.status_code, detail, problem.get("errors") or [], response.headers.get("x-request-id"))


def _part(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")
