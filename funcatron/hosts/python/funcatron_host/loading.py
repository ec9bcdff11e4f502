"""Finds the callables that a spec names, and says all that is wrong at once."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Set, Tuple

_HERE = os.path.dirname(os.path.abspath(__file__))


class Missing(Exception):
    """A name that leads to no callable; its text says why, and what was found."""


class Resolver:
    """Resolves dotted names; a module that cannot be imported is tried and reported once."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._broken: Dict[str, str] = {}
        self.errors: List[str] = []
        self.found: Set[str] = set()

    def resolve(self, name: str, role: str) -> Optional[Callable[..., Any]]:
        """Return the callable `package.module.function`, `package.module:function`, `package.module.Class.method`.

        On failure an error is added to `errors` and None returned. `role` says what it is for.
        """
        try:
            return self._resolve(name)
        except Missing as err:
            self.errors.append(f"{role} {name}: {err}")
        return None

    def _resolve(self, name: str) -> Callable[..., Any]:
        module, path = self._module(name)
        target: Any = module
        owner: Any = None
        for part in path:
            if not hasattr(target, part):
                raise Missing(self._not_found(module, target, part))
            owner, target = target, getattr(target, part)
        if not path:
            raise Missing("it names a module, not a function in one")
        return _callable(owner, target, path[-1])

    def _module(self, name: str) -> Tuple[Any, List[str]]:
        """Import the longest part of `name` that is a module; return it and the rest of the name."""
        if ":" in name:
            head, _, tail = name.partition(":")
            return self._import(head), tail.split(".")
        parts = name.split(".")
        if len(parts) < 2 or not all(parts):
            raise Missing("it names no module; write package.module.function")
        for end in range(len(parts) - 1, 0, -1):
            module = self._try(".".join(parts[:end]))
            if module is not None:
                return module, parts[end:]
        raise Missing(f"there is no module {parts[0]}; the bundle has: {', '.join(self._modules()) or 'none'}")

    def _import(self, name: str) -> Any:
        module = self._try(name)
        if module is None:
            raise Missing(f"there is no module {name}; the bundle has: {', '.join(self._modules()) or 'none'}")
        return module

    def _try(self, name: str) -> Any:
        """Import a module; None when there is none of that name. Raises Missing when its code fails."""
        if name in self._broken:
            raise Missing(f"the module {self._broken[name]} cannot be imported, see above")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as err:
            if err.name and (name == err.name or name.startswith(err.name + ".")):
                return None
            raise self._failed(name, err) from None
        except BaseException as err:  # noqa: BLE001 - user code may raise anything, SystemExit too
            raise self._failed(name, err) from None

    def _failed(self, name: str, err: BaseException) -> Missing:
        self._broken[name] = name
        return Missing(f"the module {name} cannot be imported:\n{user_traceback(err)}")

    def _not_found(self, module: Any, target: Any, part: str) -> str:
        from difflib import get_close_matches

        names = sorted(n for n in vars(target) if not n.startswith("_") and callable(getattr(target, n, None)))
        own = [n for n in names if getattr(getattr(target, n), "__module__", None) == module.__name__] or names
        self.found.update(f"{module.__name__}.{n}" for n in own)
        where = target.__name__ if target is module else f"{module.__name__}.{target.__name__}"
        close = get_close_matches(part, own, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{where} has no {part}{hint}; found there: {', '.join(own) or 'nothing that can be called'}"

    def _modules(self) -> List[str]:
        """The importable names at the top of the bundle's code."""
        names = []
        for entry in sorted(os.listdir(self._folder)):
            stem, extension = os.path.splitext(entry)
            if extension == ".py" and stem.isidentifier():
                names.append(stem)
            elif os.path.isdir(os.path.join(self._folder, entry)) and entry.isidentifier() and entry != "__pycache__":
                names.append(entry)
        return names


def _callable(owner: Any, target: Any, name: str) -> Callable[..., Any]:
    """Bind methods: a plain function of a class is called on a new instance for each call."""
    if not callable(target):
        raise Missing(f"it is a {type(target).__name__}, which cannot be called")
    if isinstance(owner, type) and inspect.isfunction(inspect.getattr_static(owner, name)):
        return _on_new_instance(owner, target)
    if isinstance(target, type) and "__call__" in vars(target):
        return _on_new_instance(target, target.__call__)
    return target  # type: ignore[no-any-return]


def _on_new_instance(kind: type, method: Callable[..., Any]) -> Callable[..., Any]:
    try:
        inspect.signature(kind).bind()
    except (TypeError, ValueError):
        raise Missing(f"the class {kind.__name__} cannot be made without arguments") from None

    def call(*args: Any, **kwargs: Any) -> Any:
        return method(kind(), *args, **kwargs)

    call.__signature__ = _without_self(method)  # type: ignore[attr-defined]
    call.__doc__ = method.__doc__
    call.is_async = is_async(method)  # type: ignore[attr-defined]
    return call


def _without_self(method: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine or an asynchronous generator, as far as can be told without doing so."""
    known = getattr(function, "is_async", None)
    if isinstance(known, bool):
        return known
    function = getattr(function, "func", function)  # functools.partial
    if not inspect.isroutine(function):
        function = getattr(function, "__call__", function)  # noqa: B004 - an instance with async def __call__
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def user_traceback(err: BaseException) -> str:
    """A traceback that begins in the user's code: without the host's and the import machinery's frames."""
    lines = traceback.TracebackException(type(err), err, err.__traceback__)
    _trim(lines, set())
    return "".join(lines.format()).rstrip()


def _trim(trace: traceback.TracebackException, seen: Set[int]) -> None:
    if id(trace) in seen:
        return
    seen.add(id(trace))
    kept = [f for f in trace.stack if not f.filename.startswith((_HERE, "<frozen importlib", "<string>"))]
    kept = [f for f in kept if not f.filename.endswith(os.path.join("importlib", "__init__.py"))]
    trace.stack[:] = kept
    for other in (trace.__cause__, trace.__context__):
        if other is not None:
            _trim(other, seen)


def loaded_from(folder: str) -> List[Any]:
    """The modules that were loaded from `folder`."""
    prefix = os.path.join(folder, "")
    return [m for m in list(sys.modules.values()) if (getattr(m, "__file__", None) or "").startswith(prefix)]
