"""The Registry's parts that need no database: what each is on real ones is in tests/conformance/registry."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading

import pytest
from sqlalchemy import create_engine

from funcatron.errors import NotFound, SettingsError, StoreError
from funcatron.stores import schema
from funcatron.stores.call import Call, GivenUp
from funcatron.stores.engine import file_of, parse
from funcatron.stores.nearest import nearest, unknown
from funcatron.stores.redact import MASK, redacted

# names


@pytest.mark.parametrize(
    ("name", "offered"),
    [("pestore", ["petstore"]), ("PETSTORE", ["petstore"]), ("hello", ["hello-1", "hello-2"]), ("zzz", []), ("", [])],
)
def test_the_nearest_names_are_offered(name, offered):
    assert nearest(name, ["petstore", "hello-2", "hello-1", "other"]) == offered


def test_an_unknown_name_is_told_with_the_nearest_ones():
    assert str(unknown("runner", "x", ["other"])) == "there is no runner 'x'"
    assert str(unknown("runner", "runer-1", ["runner-1"])) == "there is no runner 'runer-1'; did you mean 'runner-1'?"
    three = unknown("deployment", "hello", ["hello-1", "hello-2", "hello-3", "hello-4"])
    assert str(three).endswith("did you mean 'hello-1', 'hello-2' or 'hello-3'?")
    assert isinstance(three, NotFound)
    assert len(str(unknown("runner", "x" * 10_000, []))) < 200


# secrets


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "dbPass",
        "apiKey",
        "API-KEY",
        "key",
        "clientSecret",
        "AWS_SECRET_ACCESS_KEY",
        "tokens",
        "Authorization",
        "auth",
        "cookie",
        "private_key",
        "stripe_key",
        "STRIPEKEY",
        "jwt",
        "DSN",
        "connectionString",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", 1234, ["hunter2"], {"inner": "hunter2"}])
def test_a_member_whose_name_says_that_it_is_secret_is_masked(name, value):
    assert redacted({"outer": [{name: value}]}) == {"outer": [{name: MASK}]}


@pytest.mark.parametrize("name", ["color", "author", "timeout", "log-level", "passenger", "keyboard", "opinion", "url"])
def test_other_members_are_told(name):
    assert redacted({name: "blue"}) == {name: "blue"}


def test_nothing_and_a_switch_are_no_secret():
    assert redacted({"password": None, "token": "", "auth": True}) == {"password": None, "token": "", "auth": True}


def test_secrets_in_a_text_are_masked():
    assert redacted("at amqp://u:hunter2@h:1/ and http://:p@x/y") == f"at amqp://u:{MASK}@h:1/ and http://:{MASK}@x/y"
    assert redacted("https://u@h/a:b@c") == "https://u@h/a:b@c"
    key = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"
    assert redacted({"pem": f"x{key}y{key[:40]}"}) == {"pem": f"x{MASK}y{MASK}"}


# calls


def test_a_call_that_was_given_up_does_not_begin_and_does_not_commit():
    call = Call()
    assert call.give_up()
    for step in (call.check, call.commit):
        with pytest.raises(GivenUp):
            step()
    with pytest.raises(GivenUp), call.on(object()):
        raise AssertionError("not reached")


def test_a_call_that_commits_is_not_given_up_unless_it_is_late():
    call, (ours, theirs) = Call(), socket.socketpair()
    connection = _Connection(ours)
    with theirs, ours, call.on(connection):
        call.commit()
        assert not call.give_up()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        assert not call.give_up(late=True)
        assert theirs.recv(1) == b""


def test_giving_up_cuts_the_connection_that_a_thread_waits_on_and_no_later_one():
    call, (ours, theirs) = Call(), socket.socketpair()
    with theirs, ours, call.on(_Connection(ours)):
        got = []
        waiting = threading.Thread(target=lambda: got.append(ours.recv(1)))
        waiting.start()
        assert call.give_up()
        waiting.join(20)
        assert got == [b""]
    call.give_up()  # the connection is another's by now, and closed


def test_giving_up_interrupts_a_long_query_of_a_file():
    call, began = Call(), threading.Event()
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.create_function("began", 0, began.set)
    endless = "WITH RECURSIVE n(x) AS (SELECT began() UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n"
    with call.on(db):
        interrupting = threading.Thread(target=lambda: began.wait(20) and call.give_up())
        interrupting.start()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            db.execute(endless).fetchone()
        interrupting.join(20)
    db.close()


class _Connection:
    """What `Call` needs of a driver's connection."""

    closed = False

    def __init__(self, sock):
        self.fileno = sock.fileno


# URLs and revisions


def test_a_postgresql_url_needs_not_name_its_driver():
    assert parse("postgresql://u:p@h/d").drivername == "postgresql+psycopg"
    assert parse("postgres://u@h/d").drivername == "postgresql+psycopg"
    with pytest.raises(SettingsError, match="not a database URL"):
        parse("nonsense")


def test_only_a_file_has_a_file(tmp_path):
    assert file_of(parse(f"sqlite:///{tmp_path}/x.db")) == tmp_path / "x.db"
    assert file_of(parse("sqlite://")) is None
    assert file_of(parse("postgresql://h/d")) is None


def test_each_revision_but_the_newest_is_refused():
    schema.check(schema.HEAD)
    for revision in (*schema.REVISIONS[:-1], "9999", "abc", "", None):
        with pytest.raises(StoreError):
            schema.check(revision)


def test_a_registry_does_not_load_what_only_migrations_need():
    look = "import sys, funcatron.stores.registry; print([name for name in sys.modules if name.startswith('alembic')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_database_of_another_program_is_not_taken_for_a_new_one(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    with engine.begin() as db:
        assert schema.is_new(db)
        db.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        assert not schema.is_new(db)
        assert schema.revision(db) is None
    engine.dispose()
