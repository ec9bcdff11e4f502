"""Threads and executors that a call starts inherit its context, so that their log lines carry its request id."""

from __future__ import annotations

import sys
import threading
from contextvars import copy_context

from .api import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_start = threading.Thread.start


def install() -> None:
    """Patch Thread.start, and the submit of thread pools once their module is loaded."""
    threading.Thread.start = _start_in_context  # type: ignore[method-assign]
    _patch_pools()


def start_plain(target: Callable[[], Any], name: str) -> None:
    """Start a thread of the host itself: no call's context."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    _start(thread)


def _start_in_context(self: threading.Thread) -> None:
    if current.get(None) is not None:
        target = getattr(self, "_target", None)
        if getattr(target, "__module__", None) == "concurrent.futures.thread":
            _patch_pools()  # a pool's thread works for many calls: its tasks bring their context along
        else:
            context, run = copy_context(), self.run
            self.run = lambda: context.run(run)  # type: ignore[method-assign]
    _start(self)


def _patch_pools() -> None:
    module: Any = sys.modules.get("concurrent.futures.thread")
    if module is None or getattr(module.ThreadPoolExecutor.submit, "funcatron", False):
        return
    plain = module.ThreadPoolExecutor.submit

    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if current.get(None) is None:
            return plain(self, fn, *args, **kwargs)
        return plain(self, copy_context().run, fn, *args, **kwargs)

    submit.funcatron = True  # type: ignore[attr-defined]
    module.ThreadPoolExecutor.submit = submit
