"""One call: what came over the wire, and the operation that it is for, with its arguments by name."""

from __future__ import annotations

import inspect
import json

from .api import Context
from .loading import is_async
from .uploads import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

CONTEXT_NAMES = ("context", "context_")
SLOW = 3e-4  # seconds; a function that waits longer than this runs beside others, see engine.py
STRIKES = 3


class Operation:
    """A function of the bundle with what is known about it. Made once, when the bundle is loaded."""

    def __init__(self, spec: Mapping[str, Any], function: Callable[..., Any]) -> None:
        self.id: str = spec["id"]
        self.produces: Tuple[str, ...] = tuple(spec.get("produces") or ())
        self.route: str = spec.get("path", "")
        self.is_async = is_async(function)
        self.names: FrozenSet[str] = frozenset()
        self.required: FrozenSet[str] = frozenset()
        self.any = False
        self.function = self._inspect(function)
        # a Func may name a parameter as the spec does, or by its pythonic form
        aliases = (spec.get("aliases") or {}).items()
        self.renamed = {name: own for name, own in aliases if own in self.names and name not in self.names}
        # headers and cookies: for Funcs that name them, not for their **kwargs
        self.explicit = frozenset(spec.get("explicit") or ()) - self.names
        self.contexts = tuple(n for n in CONTEXT_NAMES if n in self.names)
        self.json = _only_json(self.produces)
        # learnt while it runs: whether it waits (for a database, say) rather than computes
        self.suspect = False
        self.blocks = False
        self._strikes = 0
        self._quick = 0

    def _inspect(self, function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some builtins have none
            self.any = True
            return function
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.names = frozenset(p.name for p in named)
        self.required = frozenset(p.name for p in named if p.default is p.empty)
        self.any = any(p.kind == p.VAR_KEYWORD for p in parameters)
        first = [p.name for p in named if p.kind == p.POSITIONAL_ONLY]
        return _by_name(function, first) if first else function

    def describe(self) -> Dict[str, Any]:
        """What the Runner is told about it."""
        return {"arguments": sorted(self.names), "any": self.any, "async": self.is_async}

    def never_callable(self, spec: Mapping[str, Any]) -> List[str]:
        """Arguments that the function needs and that the operation, which lists its `arguments`, can never supply."""
        if spec.get("arguments") is None:
            return []
        body = spec.get("body-name") or "body"
        known = {*spec["arguments"], *(spec.get("aliases") or {}).values(), body, "user", "token_info", *CONTEXT_NAMES}
        return sorted(self.required - known)

    def arguments(self, call: Call) -> Dict[str, Any]:
        """The keyword arguments for one call: those that the function has, or all if it takes any."""
        header = call.header
        params: Dict[str, Any] = header.get("params") or {}
        if self.renamed:
            params = {self.renamed.get(name, name): value for name, value in params.items()}
        if self.any:
            if self.explicit:
                params = {name: value for name, value in params.items() if name not in self.explicit}
        elif not self.names.issuperset(params):
            params = self._wanted(params)
        kind = header.get("body-kind", "none")
        name = header.get("body-name") or "body"
        name = self.renamed.get(name, name)
        if (self.any and kind != "none") or name in self.names:
            self._body(call, kind, name, params)
        if "files" in header:
            params.update(self._wanted(files(call)))
        if call.security is not None:
            params.update(self._wanted(call.security))
        for name in self.contexts:
            if name not in params:
                params[name] = call.context
        return params

    def _wanted(self, values: Dict[str, Any]) -> Dict[str, Any]:
        return values if self.any else {name: value for name, value in values.items() if name in self.names}

    def _body(self, call: Call, kind: str, name: str, params: Dict[str, Any]) -> None:
        if kind != "none":
            params[name] = call.parsed_body(kind)
        elif name in self.required and name not in params:
            params[name] = None

    def took(self, seconds: float, cpu: Optional[float]) -> None:
        """Learn from one run. `cpu` is the CPU time of it, measured for suspects only."""
        if seconds > SLOW:
            self._quick = 0
            self.suspect = True
            if cpu is not None and cpu < seconds / 2:
                self._strikes += 1
                self.blocks = self._strikes >= STRIKES
        elif self.suspect:
            self._quick += 1
            if self._quick > 20:
                self.suspect = self.blocks = False
                self._quick = self._strikes = 0


class Call:
    """A call that is waiting or running. Its context is only decoded when somebody asks for it."""

    __slots__ = ("_context", "body", "cancelled", "header", "id", "operation", "security", "service", "task", "worker")

    def __init__(self, header: Dict[str, Any], body: Any, operation: Operation, service: Any) -> None:
        self.header = header
        self.id: int = header["id"]
        self.body = body
        self.operation = operation
        self.service = service
        self.cancelled = False
        self.security: Optional[Dict[str, Any]] = None
        self.task: Any = None  # where the event loop has it
        self.worker: Any = None  # the thread that has it
        self._context: Optional[Context] = None

    @property
    def context(self) -> Context:
        """What surrounds the call."""
        if self._context is None:
            self._context = self._decode()
        return self._context

    def _decode(self) -> Context:
        info: Dict[str, Any] = json.loads(bytes(self.body[: self.header.get("context-length", 0)]) or b"{}")
        deadline = info.get("deadline")
        made = Context(
            request_id=info.get("request-id", ""),
            sha=self.service.sha,
            operation=self.operation.id,
            deadline=None if deadline is None else deadline / 1000,
            method=info.get("method", ""),
            path=info.get("path", ""),
            route=info.get("route") or self.operation.route,
            host=info.get("host") or "",
            scheme=info.get("scheme") or "http",
            remote_addr=info.get("remote-addr") or "",
            query=info.get("query") or "",
            path_params=info.get("path-params"),
            headers=info.get("headers"),
            properties=self.service.props,
        )
        made.body = self.raw_body()
        if self.security is not None:
            made.update(self.security)
        return made

    def raw_body(self) -> bytes:
        """The request's body as it came; for a form with files, their contents one after the other."""
        return bytes(self.body[self.header.get("context-length", 0) :])

    def parsed_body(self, kind: str) -> Any:
        """The value of the body argument."""
        if "body" in self.header:
            return self.header["body"]
        raw = self.raw_body()
        if kind == "json":
            return json.loads(raw) if raw else None
        if kind == "text":
            return raw.decode("utf-8", "replace")
        return raw or None


def files(call: Call) -> Dict[str, Any]:
    """The uploaded files by argument; several of one name, and those of an array, as a list."""
    found: Dict[str, Any] = {}
    start = call.header.get("context-length", 0)
    view = memoryview(call.body)
    for part in call.header["files"]:
        at = start + part["offset"]
        data = view[at : at + part["length"]]
        file = File(part["name"], part.get("filename"), part.get("content-type"), data)
        name = part["name"]
        if name in found:
            before = found[name]
            found[name] = [*before, file] if isinstance(before, list) else [before, file]
        else:
            found[name] = [file] if part.get("many") else file
    return found


def _by_name(function: Callable[..., Any], first: List[str]) -> Callable[..., Any]:
    """Pass by position what cannot be passed by name."""

    def call(**kwargs: Any) -> Any:
        return function(*[kwargs.pop(name) for name in first if name in kwargs], **kwargs)

    return call


def _only_json(produces: Tuple[str, ...]) -> Optional[bytes]:
    """The content type, as JSON text, of an operation whose dicts and lists can only be one kind of JSON."""
    from .answers import is_json

    kinds = set(produces) or {"application/json"}
    if len(kinds) == 1 and is_json(next(iter(kinds))):
        return json.dumps(next(iter(kinds))).encode()
    return None
