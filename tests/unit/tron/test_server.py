"""The process of a Tron: how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from funcatron.errors import SettingsError, StoreError, WrongTables
from funcatron.settings import Settings
from funcatron.stores import schema
from funcatron.stores.registry import Registry
from funcatron.tron import server


def settings_of(tmp_path: Path, **more: Any) -> Settings:
    return Settings(data=tmp_path, broker="memory", admin_port=0, **more)


async def answers(url: str, path: str, status: int) -> None:
    """Wait until a path is answered with a status."""
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while (await client.get(path)).status_code != status:  # noqa: ASYNC110 - another task serves it
            await asyncio.sleep(0.02)


async def url_of(wait_until: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Return where the API is, as the log says it."""
    found = await wait_until(lambda: re.search(r"admin API at (http://127\.0\.0\.1:[1-9]\d*)", caplog.text))
    return str(found[1])


async def test_it_takes_a_free_port_leads_and_gives_the_lease_up_at_its_end(tmp_path, wait_until, caplog):
    caplog.set_level("INFO", "funcatron.tron")
    settings = settings_of(tmp_path)
    serving = asyncio.create_task(server.serve(settings))
    url = await url_of(wait_until, caplog)
    await answers(url, "/ready", 200)
    registry = Registry(settings.registry_url)
    await registry.open()
    assert (await registry.leader()).url == url
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(serving, 20) == 0
    lease = await registry.leader()
    assert (lease.holder, lease.epoch) == (None, 1)
    await registry.close()


async def test_a_database_that_is_away_is_waited_for(tmp_path, wait_until, caplog, monkeypatch):
    caplog.set_level("INFO", "funcatron.tron")
    monkeypatch.setattr("funcatron.tron.tron.AGAIN", 0.05)
    opened = Registry.open

    async def away(_: Registry) -> None:
        raise StoreError("the Registry failed: connection refused")

    monkeypatch.setattr(Registry, "open", away)
    serving = asyncio.create_task(server.serve(settings_of(tmp_path)))
    url = await url_of(wait_until, caplog)
    await answers(url, "/health", 200)
    await answers(url, "/ready", 503)
    await answers(url, "/api/v2/status", 503)
    assert "connection refused" in caplog.text
    monkeypatch.setattr(Registry, "open", opened)
    await answers(url, "/api/v2/status", 200)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(serving, 20) == 0


async def test_tables_of_another_revision_end_it_with_what_to_do_whenever_they_are_found(
    tmp_path, wait_until, caplog, monkeypatch
):
    caplog.set_level("INFO", "funcatron.tron")
    settings = settings_of(tmp_path)
    registry = Registry(settings.registry_url)
    await registry.open()
    await registry.close()
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    monkeypatch.setattr(schema, "HEAD", "9999")
    with pytest.raises(WrongTables, match="`funcatron migrate`"):
        await server.serve(settings)
    monkeypatch.setattr("funcatron.tron.tron.AGAIN", 0.05)
    opened = Registry.open

    async def away(_: Registry) -> None:
        raise StoreError("the Registry failed: connection refused")

    monkeypatch.setattr(Registry, "open", away)
    serving = asyncio.create_task(server.serve(settings))
    await url_of(wait_until, caplog)
    monkeypatch.setattr(Registry, "open", opened)
    with pytest.raises(WrongTables, match="`funcatron migrate`"):
        await asyncio.wait_for(serving, 20)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"registry": "nonsense"}, "FUNCATRON_REGISTRY is not a database URL"),
        ({"admin_token": SecretStr("short")}, "too short to be a secret"),
        ({"tron_url": "ftp://x"}, "FUNCATRON_TRON_URL is no URL of HTTP"),
    ],
)
async def test_wrong_settings_end_it_at_once(tmp_path, wrong, told):
    with pytest.raises(SettingsError, match=told):
        await server.serve(settings_of(tmp_path, **wrong))
