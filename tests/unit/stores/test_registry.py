"""The Registry on a real SQLite file, and on PostgreSQL where `TEST_POSTGRESQL` names a database."""

from __future__ import annotations

import asyncio
import os

import pytest
import pytest_asyncio
from sqlalchemy import create_engine, make_url, update

from funcatron.errors import Conflict, SettingsError, StoreError
from funcatron.stores import tables
from funcatron.stores.records import BundleRecord, Deployment, Draining, Event, Version
from funcatron.stores.registry import Change, Registry

POSTGRESQL = os.environ.get("TEST_POSTGRESQL")
"""URL of an empty PostgreSQL database that the suite may use as well."""


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRESQL else [])])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/deep/registry.db"
        return
    yield POSTGRESQL
    engine = create_engine(make_url(POSTGRESQL).set(drivername="postgresql+psycopg"))
    tables.metadata.drop_all(engine)
    engine.dispose()


@pytest_asyncio.fixture
async def registry(url):
    made = Registry(url)
    await made.open()
    yield made
    await made.close()


def record(sha="a" * 64, **more):
    return BundleRecord(sha, "python", "hello", None, "/hello", 12, operations=({"id": "f"},), created=1.0, **more)


def version(sha="a" * 64, path="/hello", host=None):
    return Version(sha, host, path, {"p": 1}, {"timeout": 3})


async def saved(registry, deployment, **more):
    return (await registry.apply(Change(save=deployment, **more))).deployment


async def test_a_bundle_is_remembered_once(registry):
    assert await registry.add_bundle(record())
    assert not await registry.add_bundle(record())
    assert await registry.bundle("a" * 64) == record()
    assert await registry.bundle("b" * 64) is None


async def test_bundles_are_found_by_the_beginning_of_their_sha_only(registry):
    await registry.add_bundle(record())
    assert await registry.bundles("aaaa") == [record()]
    assert await registry.bundles("%") == []


async def test_everything_is_there_again_after_reopening(registry, url):
    await registry.add_bundle(record())
    one = Deployment("hello", version(), serving=version(), created=1.0).at("loading", 2.0, "d").at("routed", 3.0)
    one = await saved(registry, one, drain=(Draining("q", "hello", "b" * 64, 4.0),), routes=True)
    await registry.remember("statsd", {"host": "h", "port": 1})
    await registry.close()
    again = Registry(url)
    await again.open()
    assert await again.deployments() == [one]
    assert await again.draining() == [Draining("q", "hello", "b" * 64, 4.0)]
    assert await again.fact("statsd") == {"host": "h", "port": 1}
    assert (await again.routes_state())[1] == 1
    await again.close()


async def test_a_host_and_base_path_belongs_to_one_deployment_and_the_owner_is_named(registry):
    for sha in "ab":
        await registry.add_bundle(record(sha * 64))
    await saved(registry, Deployment("one", version()))
    with pytest.raises(Conflict, match="any host/hello belongs to the deployment one"):
        await saved(registry, Deployment("two", version("b" * 64)))
    assert [one.name for one in await registry.deployments()] == ["one"]
    await saved(registry, Deployment("two", version("b" * 64, host="h")))


async def test_a_version_that_serves_keeps_its_path_while_another_is_loaded(registry):
    for sha in "ab":
        await registry.add_bundle(record(sha * 64))
    one = await saved(registry, Deployment("one", version(path="/new"), serving=version(path="/old")))
    for path in ("/old", "/new"):
        with pytest.raises(Conflict, match="one"):
            await saved(registry, Deployment("two", version("b" * 64, path)))
    await saved(registry, one.at("failed", 1.0, error="x"))
    await saved(registry, Deployment("two", version("b" * 64, "/new")))


async def test_a_deployment_that_somebody_else_changed_is_not_overwritten(registry):
    await registry.add_bundle(record())
    one = await saved(registry, Deployment("one", version()))
    await saved(registry, one.at("routed", 1.0))
    with pytest.raises(Conflict, match="changed by somebody else"):
        await saved(registry, one.at("failed", 1.0))


async def test_a_change_is_made_whole_or_not_at_all(registry):
    await registry.add_bundle(record())
    event = Event(1.0, "one", "a" * 64, "deploy", "begun")
    stale = Deployment("one", version(), revision=7)
    with pytest.raises(Conflict):
        await registry.apply(Change(save=stale, events=(event,), routes=True))
    assert await registry.history() == []
    assert (await registry.routes_state())[1] == 0


async def test_writers_wait_for_each_other(registry, url):
    await registry.add_bundle(record())
    other = Registry(url)
    await other.open()
    event = Event(1.0, "one", "a" * 64, "deploy", "begun")
    both = [registry, other] * 20
    await asyncio.gather(*(one.apply(Change(events=(event,), routes=True)) for one in both))
    assert (await registry.routes_state())[1] == 40
    assert len(await registry.history("one", 1000)) == 40
    await other.close()


async def test_the_history_is_told_newest_first_and_by_name(registry):
    for at, name in enumerate(["one", "two", "one"]):
        await registry.apply(Change(events=(Event(at, name, "s", "deploy", "begun"),)))
    assert [one.at for one in await registry.history("one")] == [2.0, 0.0]
    assert len(await registry.history(limit=2)) == 2


async def test_tables_of_another_version_are_refused(registry, url):
    await registry._run(lambda db: db.execute(update(tables.migrations), {"version_num": "9999"}))
    with pytest.raises(StoreError, match="tables are of version 9999, this Funcatron needs 0001"):
        await Registry(url).open()


async def test_a_file_that_is_no_database_is_a_clear_error(tmp_path):
    (tmp_path / "x.db").write_bytes(b"\xff\xd8" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        await Registry(f"sqlite:///{tmp_path}/x.db").open()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x/y", "mysql://u@h/d"])
async def test_a_database_that_cannot_be_used_says_why(url):
    with pytest.raises(SettingsError, match="database"):
        await Registry(url).open()


async def test_a_registry_that_is_not_open_says_so(url):
    with pytest.raises(StoreError, match="not open"):
        await Registry(url).deployments()
