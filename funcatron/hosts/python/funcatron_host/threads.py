"""Threads and executors that a call starts inherit its context, so that their log lines carry its request id."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from concurrent.futures.thread import ThreadPoolExecutor
from contextvars import copy_context

from .api import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_start = threading.Thread.start
_plain_submit = ThreadPoolExecutor.submit


def install() -> None:
    """Patch Thread.start, and the submit of thread pools, whose threads work for many calls."""
    threading.Thread.start = _start_in_context  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign,assignment]


def start_plain(target: Callable[[], Any], name: str) -> None:
    """Start a thread of the host itself: no call's context. The host cannot do without it: if it fails, all ends."""

    def run() -> None:
        try:
            target()
        except BaseException:  # noqa: BLE001 - whatever it was, a half host must not stay
            traceback.print_exc(file=sys.__stderr__)
            os._exit(70)  # EX_SOFTWARE

    _start(threading.Thread(target=run, name=name, daemon=True))


def _start_in_context(self: threading.Thread) -> None:
    target = getattr(self, "_target", None)
    if current.get(None) is not None and getattr(target, "__module__", None) != ThreadPoolExecutor.__module__:
        context, run = copy_context(), self.run
        self.funcatron_context = context  # type: ignore[attr-defined]
        self.run = lambda: context.run(run)  # type: ignore[method-assign]
    _start(self)


def _submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if current.get(None) is None:
        return _plain_submit(self, fn, *args, **kwargs)
    return _plain_submit(self, copy_context().run, fn, *args, **kwargs)
