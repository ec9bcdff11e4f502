"""Func hosts are tested on uvloop, as the Runner drives them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of all tests here."""
    return {"uvloop": uvloop.new_event_loop}
