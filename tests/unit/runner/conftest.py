"""A Func that serves from the memory broker with played hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.unit.runner.fakes import World, world


@pytest_asyncio.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A Func that serves."""
    async with world(tmp_path, monkeypatch) as made:
        await made.func.serve()
        yield made
