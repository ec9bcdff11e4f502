"""The tables of every revision come to the newest one without loss, on each database."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from funcatron.errors import StoreError
from funcatron.stores import migrate as migrations
from funcatron.stores import schema, tables
from funcatron.stores.engine import parse
from funcatron.stores.migrate import migrate, revision_of
from funcatron.stores.records import BundleRecord, Deployment, Draining, Event, Served, Stage, Version
from funcatron.stores.registry import Change
from tests.conformance.registry.conftest import HERE, A, B

SERVING = Version(A, None, "/hello", {"color": "blue"}, {"timeout": 3})
ROWS = f"""
INSERT INTO alembic_version VALUES ('0001');
INSERT INTO facts VALUES ('epoch', '"abc"'), ('routes-version', '7'), ('statsd', '{{"host": "h", "port": 1}}');
INSERT INTO bundles VALUES ('{A}', 'python', 'hello', NULL, '/hello', 12, 'T', '1', '[{{"id": "f"}}]', 1.5);
INSERT INTO bundles VALUES ('{B}', 'python', 'hello', 'h', '/hello', 12, 'T', '2', '[]', 2.5);
INSERT INTO deployments VALUES ('hello', '{B}', 'h', '/hello', '{{}}', '{{}}', true,
 '{{"sha": "{A}", "host": null, "base_path": "/hello", "props": {{"color": "blue"}}, "settings": {{"timeout": 3}}}}',
 'failed', '[["failed", 4.5, "{B}", "d"]]', 'an error', 3.5, 4.5, 9);
INSERT INTO deployments VALUES ('off', '{A}', NULL, '/off', '{{}}', '{{}}', false, NULL,
 'disabled', '[]', NULL, 1, 1, 1);
INSERT INTO claims VALUES ('', '/hello', 'hello');
INSERT INTO draining VALUES ('q', 'hello', '{B}', 4.5);
INSERT INTO history (at, name, sha, what, outcome, detail) VALUES (3.5, 'hello', '{A}', 'deploy', 'begun', ''),
 (4.5, 'hello', '{B}', 'deploy', 'failed', 'an error')"""


@pytest.fixture
def old(store, tmp_path):
    """A database as the first revision's Funcatron left it."""
    store.script(HERE / f"0001.{store.kind}.sql")
    rows = tmp_path / "rows.sql"
    rows.write_text(ROWS.strip())
    store.script(rows)
    return store


def shape(url):
    """Return all that there is to say about a database's tables."""
    engine = create_engine(parse(url))
    found = inspect(engine)
    made = {
        name: (
            [(c["name"], str(c["type"]), c["nullable"], _default(c["default"])) for c in found.get_columns(name)],
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in found.get_indexes(name)),
            [(f["constrained_columns"], f["referred_table"]) for f in found.get_foreign_keys(name)],
        )
        for name in sorted(found.get_table_names())
        if name != tables.migrations.name
    }
    engine.dispose()
    return made


def _default(given):
    return given.partition("::")[0] if given else given


async def test_older_tables_are_refused_with_the_command_and_both_revisions(old):
    with pytest.raises(StoreError, match=r"revision 0001, this Funcatron needs 0002: .*`funcatron migrate`"):
        await old.registry()
    assert revision_of(old.url) == "0001"


async def test_older_tables_are_migrated_without_loss(old):
    assert await asyncio.to_thread(migrate, old.url) == ("0001", "0002")
    registry = await old.registry()
    hello, off = await registry.deployments()
    assert hello == Deployment(
        "hello",
        Version(B, "h", "/hello"),
        serving=SERVING,
        stage="failed",
        stages=(Stage("failed", 4.5, B, "d"),),
        error="an error",
        created=3.5,
        updated=4.5,
        revision=9,
    )
    assert (off.enabled, off.serving, off.revision) == (False, None, 1)
    assert await registry.bundle(A) == BundleRecord(
        A, "python", "hello", None, "/hello", 12, "T", "1", ({"id": "f"},), 1.5
    )
    assert await registry.draining() == [Draining("q", "hello", B, 4.5)]
    assert await registry.routes_state() == ("abc", 7)
    assert await registry.fact("statsd") == {"host": "h", "port": 1}
    assert await registry.versions("hello") == [Served(SERVING, 4.5)]
    assert await registry.history() == [
        Event(4.5, "hello", B, "deploy", "failed", "an error", "tron", "", {}, {}),
        Event(3.5, "hello", A, "deploy", "begun", "", "tron", "", {}, {}),
    ]


async def test_a_migrated_registry_works_like_a_new_one(old):
    migrate(old.url)
    registry = await old.registry()
    hello = (await registry.deployments())[0]
    lease = await registry.acquire("tron-1", "http://one")
    leading = registry.under(lease.epoch)
    made = await leading.apply(
        Change(save=hello.at("routed", 5.0), routes=True, events=(Event(5.0, "x", A, "a", "b"),))
    )
    assert made.routes_version == 8
    assert len(await registry.history()) == 3
    await leading.apply(Change(save=replace(made.deployment, serving=hello.wanted)))
    assert await registry.earlier("hello") == SERVING


async def test_a_tron_of_the_revision_before_goes_on_with_migrated_tables(old):
    migrate(old.url)
    engine = create_engine(parse(old.url))
    with engine.begin() as db:  # as it writes a deployment and an event
        db.execute(
            text(
                "INSERT INTO deployments (name, sha, host, base_path, props, settings, enabled, stage, stages, created,"
                f" updated, revision) VALUES ('n', '{A}', NULL, '/n', '{{}}', '{{}}', true, 'loading', '[]', 1, 1, 1)"
            )
        )
        columns = "at, name, sha, what, outcome, detail"
        db.execute(text(f"INSERT INTO history ({columns}) VALUES (9, 'n', '{A}', 'deploy', 'begun', '')"))
    engine.dispose()
    registry = await old.registry()
    assert "n" in [one.name for one in await registry.deployments()]
    assert (await registry.history("n"))[0].who == "tron"


async def test_to_migrate_twice_changes_nothing_the_second_time(old):
    migrate(old.url)
    before = shape(old.url)
    assert migrate(old.url) == ("0002", "0002")
    assert shape(old.url) == before


async def test_migrated_tables_are_those_that_a_new_database_gets(old, store, tmp_path, request):
    migrate(old.url)
    new = f"sqlite:///{tmp_path}/new.db" if old.kind == "sqlite" else request.getfixturevalue("postgres").database()
    assert migrate(new) == (None, "0002")
    assert shape(old.url) == shape(new)
    engine = create_engine(parse(new))
    with engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db), tables.metadata) == []
    engine.dispose()


async def test_the_scripts_alone_make_the_same_tables(store, tmp_path, request):
    new = f"sqlite:///{tmp_path}/new.db" if store.kind == "sqlite" else request.getfixturevalue("postgres").database()
    migrate(new)
    engine = create_engine(parse(store.url))
    with engine.begin() as db:
        migrations.command.upgrade(migrations._config(db), "head")
    engine.dispose()
    assert shape(store.url) == shape(new)
    registry = await store.registry()
    assert (await registry.routes_state())[1] == 0
    assert (await registry.leader()).epoch == 0


def test_the_list_of_revisions_is_that_of_the_scripts():
    scripts = ScriptDirectory(str(migrations.SCRIPTS))
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == schema.REVISIONS


async def test_a_migration_that_fails_leaves_everything_as_it_was(old):
    engine = create_engine(parse(old.url))
    with engine.begin() as db:
        db.execute(text("CREATE TABLE requests (x INTEGER)"))  # the last that it would make
    engine.dispose()
    before = shape(old.url)
    with pytest.raises(StoreError, match="requests"):
        migrate(old.url)
    assert shape(old.url) == before
    assert revision_of(old.url) == "0001"


@pytest.mark.parametrize(
    ("noted", "says"),
    [("'9999'", "revision 9999, newer than 0002"), ("'f00'", r"unknown revision \(f00\)"), (None, "none is noted")],
)
async def test_tables_of_a_revision_that_is_newer_or_unknown_are_refused_and_left_alone(old, noted, says):
    engine = create_engine(parse(old.url))
    with engine.begin() as db:
        change = f"UPDATE alembic_version SET version_num = {noted}" if noted else "DELETE FROM alembic_version"
        db.execute(text(change))
    engine.dispose()
    before = shape(old.url)
    for look in (migrate, revision_of):
        with pytest.raises(StoreError, match=says):
            look(old.url)
    with pytest.raises(StoreError, match=says):
        await old.registry()
    assert shape(old.url) == before


async def test_processes_that_open_a_new_database_at_once_all_get_it(store):
    actors = await asyncio.gather(*(store.actor() for _ in range(4)))
    for actor in actors:
        assert await actor.ask("count") == {"done": 0}
    assert revision_of(store.url) == schema.HEAD


async def test_to_look_at_a_revision_makes_no_file(tmp_path):
    assert revision_of(f"sqlite:///{tmp_path}/none.db") is None
    assert list(tmp_path.iterdir()) == []


async def test_a_database_of_the_first_release_is_one_of_the_tests(tmp_path):
    """The script beside this file is what that release's tables were: SQLite says so itself."""
    file = tmp_path / "first.db"
    db = sqlite3.connect(file)
    db.executescript((HERE / "0001.sqlite.sql").read_text())
    columns = [row[1] for row in db.execute("PRAGMA table_info(history)")]
    db.close()
    assert columns == ["id", "at", "name", "sha", "what", "outcome", "detail"]
