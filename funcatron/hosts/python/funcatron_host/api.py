"""What a Func may import as `funcatron`: `Response`, `Problem`, `NoContent`, `context`.

Nothing here is needed: plain functions that take parameters and return values are Funcs as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

__all__ = ["Cancelled", "Context", "Headers", "NoContent", "Problem", "Response", "context", "use"]


class _NoContent:
    """Return it (or `(NoContent, status)`) for an answer without a body."""

    def __repr__(self) -> str:
        return "NoContent"


NoContent = _NoContent()


class Cancelled(BaseException):
    """Raised inside a synchronous Func that has run out of its time. Clean up, and let it pass."""


class Response:
    """An answer with everything: `Response(body, status, headers, content_type)`.

    `headers` is a mapping, whose values may be lists, or pairs. `body` is serialised as a plain return value is.
    """

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        headers: Union[Mapping[str, Any], List[Tuple[str, str]], None] = None,
        content_type: Optional[str] = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = headers
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"Response({self.body!r}, {self.status!r}, {self.headers!r}, {self.content_type!r})"


class Problem(Exception):
    """Raise it for an error answer by RFC 9457: `raise Problem(404, detail="no such pet", pet=7)`.

    `type` is a URI; further keywords are members of the body.
    """

    def __init__(
        self,
        status: int,
        title: Optional[str] = None,
        detail: Optional[str] = None,
        type: Optional[str] = None,  # noqa: A002 - RFC 9457 calls it so
        headers: Optional[Mapping[str, Any]] = None,
        **extra: Any,
    ) -> None:
        super().__init__(status, title, detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        self.headers = headers
        self.extra = extra


class Headers(Mapping):  # type: ignore[type-arg]
    """The request's headers; names in any case. A repeated header is joined by commas, `getlist` has its values."""

    def __init__(self, raw: Optional[Mapping[str, Union[str, List[str]]]] = None) -> None:
        self._raw = {name.lower(): value for name, value in (raw or {}).items()}

    def __getitem__(self, name: str) -> str:
        value = self._raw[name.lower()]
        if isinstance(value, str):
            return value
        return ("; " if name.lower() == "cookie" else ", ").join(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._raw

    def getlist(self, name: str) -> List[str]:
        """All values of a header, in order; empty when it is absent."""
        value = self._raw.get(name.lower(), [])
        return [value] if isinstance(value, str) else list(value)

    def __repr__(self) -> str:
        return f"Headers({self._raw!r})"


class Context(MutableMapping):  # type: ignore[type-arg]
    """What surrounds a call. Also a mapping of what security found (`user`, `token_info`) and of what the Func adds.

    `deadline` is in seconds since 1970. Tests make their own: `with use(Context(method="GET")): …`.
    """

    def __init__(
        self,
        request_id: str = "",
        sha: str = "",
        operation: str = "",
        deadline: Optional[float] = None,
        method: str = "",
        path: str = "",
        route: str = "",
        host: str = "",
        scheme: str = "http",
        remote_addr: str = "",
        query: str = "",
        path_params: Optional[Dict[str, Any]] = None,
        headers: Optional[Mapping[str, Union[str, List[str]]]] = None,
        properties: Optional[Mapping[str, Any]] = None,
        body: bytes = b"",
        user: Any = None,
        token_info: Any = None,
    ) -> None:
        self.request_id = request_id
        self.sha = sha
        self.operation = operation
        self.deadline = deadline
        self.method = method
        self.path = path
        self.route = route
        self.host = host
        self.scheme = scheme
        self.remote_addr = remote_addr
        self.query = query
        self.path_params: Dict[str, Any] = path_params or {}
        self.headers = Headers(headers)
        self.properties: Mapping[str, Any] = properties or {}
        self.body = body
        self._values: Dict[str, Any] = {}
        if token_info is not None or user is not None:
            self._values.update(user=user, token_info=token_info)

    @property
    def user(self) -> Any:
        """Who calls, as the security function said (`sub` or `uid`); None for anybody."""
        return self._values.get("user")

    @property
    def token_info(self) -> Any:
        """What the security function returned."""
        return self._values.get("token_info")

    @property
    def logger(self) -> logging.Logger:
        """The logger of this operation. Lines of any logger, and of print, carry the request id as well."""
        return logging.getLogger(self.operation or "funcatron")

    @property
    def cookies(self) -> Dict[str, str]:
        """The request's cookies."""
        from http.cookies import SimpleCookie

        jar: SimpleCookie = SimpleCookie(self.headers.get("cookie", ""))
        return {name: morsel.value for name, morsel in jar.items()}

    def time_left(self) -> Optional[float]:
        """Seconds until nobody waits for the answer any more, never below 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Context {self.method} {self.path} {self.request_id}>"


# holds a Context, or something whose `context` attribute makes one when it is asked for
current: ContextVar[Any] = ContextVar("funcatron")


class _Proxy:
    """The Context of the call that this code runs in, also in threads and tasks that the call started."""

    def _get(self) -> Context:
        holder = current.get(None)
        if holder is None:
            raise RuntimeError("there is no context: this code runs outside of a call")
        found: Context = holder if isinstance(holder, Context) else holder.context
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get(), name)

    def __getitem__(self, name: str) -> Any:
        return self._get()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._get()[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._get()

    def __bool__(self) -> bool:
        return current.get(None) is not None

    def __repr__(self) -> str:
        return repr(self._get()) if self else "<no context>"


context = _Proxy()


@contextmanager
def use(context: Context) -> Iterator[Context]:
    """Make `context` the current one inside a `with` block: for tests of Funcs."""
    token = current.set(context)
    try:
        yield context
    finally:
        current.reset(token)
