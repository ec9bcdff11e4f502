"""Several Trons for tests: what takes the database, the leader's word or the firehose away from one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import httpx

from funcatron.errors import StoreError
from funcatron.tron.leadership import Pace
from funcatron.tron.tron import Tron

QUICK = Pace(ttl=1.0, beat=0.1, look=0.05)


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def cut(tron: Tron) -> Callable[[], None]:
    """Take the database away from a Tron; returns what gives it back."""
    database: Any = tron.base.registry._database

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreError("the Registry failed: it is out of reach")

    database._run = away

    def mend() -> None:
        del database._run

    return mend


async def deafen(tron: Tron) -> None:
    """Let a Tron hear nothing of the leader any more."""
    assert tron.follower._consumer is not None
    await tron.follower._consumer.cancel()


async def only(dispatching: Tron, *others: Tron) -> None:
    """Let one Tron dispatch alone."""
    for other in others:
        assert other._firehose is not None
        await other._firehose.cancel()
    assert dispatching._firehose is not None


async def deploy(client: httpx.AsyncClient, tron: Tron, data: bytes, name: str = "hello") -> str:
    stored = (await client.post("/api/v2/bundles", content=data)).json()
    begun = await client.put(f"/api/v2/deployments/{name}", json={"sha": stored["sha"]})
    assert begun.status_code == 202, begun.text
    assert (await tron.deployments.settled(name, stored["sha"], 5)).stage == "routed"
    return str(stored["sha"])
