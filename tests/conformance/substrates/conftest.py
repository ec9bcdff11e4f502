"""The substrates that the Substrate suite runs against: each driver's world (tests/substrates.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from funcatron.substrates.base import Drains, Fences, Substrate, Usage
from tests.substrates import WORLDS, World

POWERS = {"drains": Drains, "fences": Fences, "usage": Usage}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the suite on uvloop, as the product does."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test against every driver; those of a further power against the drivers that have it."""
    if "world" in metafunc.fixturenames:
        powers = [power for name, power in POWERS.items() if name in metafunc.fixturenames]
        able = [name for name, world in sorted(WORLDS.items()) if issubclass(world.driver, (Substrate, *powers)[-1])]
        metafunc.parametrize("world", able, indirect=True)


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A substrate of a driver."""
    made = WORLDS[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def substrate(world: World) -> Any:
    """A client of it."""
    return await world.client()


@pytest.fixture
def drains(substrate: Any) -> Any:
    """A client that can drain a chosen instance."""
    return substrate


@pytest.fixture
def fences(substrate: Any) -> Any:
    """A client that refuses older epochs."""
    return substrate


@pytest.fixture
def usage(substrate: Any) -> Any:
    """A client that knows what instances use."""
    return substrate
