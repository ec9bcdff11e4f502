"""`funcatron migrate`, on a real file."""

import sqlite3
from pathlib import Path

import pytest

from funcatron.cli.app import run

FIRST = Path(__file__).parents[2] / "conformance" / "registry" / "0001.sqlite.sql"


@pytest.fixture
def migrate(tmp_path, monkeypatch, capsys):
    """Run the command; returns its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUNCATRON_CONFIG", raising=False)
    file = tmp_path / "registry.db"

    def command(*options):
        code = run(["--set", f"registry=sqlite:///{file}", "migrate", *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    command.file = file
    return command


def old(file, revision="0001"):
    db = sqlite3.connect(file)
    db.executescript(FIRST.read_text())
    db.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    db.execute("""INSERT INTO facts VALUES ('epoch', '"abc"'), ('routes-version', '0')""")
    db.commit()
    db.close()


def test_older_tables_are_migrated_once(migrate):
    old(migrate.file)
    assert migrate("--check") == (1, "the Registry is at revision 0001 and is to be migrated to 0002\n")
    assert migrate() == (0, "the Registry was migrated from revision 0001 to 0002\n")
    assert migrate() == (0, "the Registry is at revision 0002 already\n")
    assert migrate("--check") == (0, "the Registry is at revision 0002: nothing is to do\n")


def test_a_new_registry_is_made_but_not_by_a_check(migrate):
    code, said = migrate("--check")
    assert (code, "there are no tables yet" in said) == (0, True)
    assert not migrate.file.exists()
    assert migrate() == (0, "the Registry was new: its tables are made, at revision 0002\n")


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_tables_that_are_newer_are_left_alone(migrate, options):
    old(migrate.file, "0999")
    code, said = migrate(*options)
    assert code == 1
    assert "revision 0999, newer than 0002" in said
