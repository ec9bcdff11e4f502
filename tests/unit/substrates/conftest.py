"""What the tests of substrate drivers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from tests.substrates import ProcessWorld


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on uvloop, as the product does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    """A `process` substrate with a component that can be troubled."""
    made = ProcessWorld(tmp_path)
    yield made
    await made.close()
