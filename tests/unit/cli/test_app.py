"""The command line as a whole: help, exit codes, errors in one line, JSON."""

import json
import re
import socket

import pytest

from funcatron.cli import app
from funcatron.cli.app import run
from funcatron.settings import Settings

COMMANDS = [
    ["up"],
    ["down"],
    ["status"],
    ["logs"],
    ["config"],
    ["bundle"],
    ["deploy"],
    ["list"],
    ["describe"],
    ["undeploy"],
    ["enable"],
    ["disable"],
    ["history"],
    ["rollback"],
    ["split"],
    ["promote"],
    ["scale"],
    ["scaling"],
    ["trons"],
    ["runners"],
    ["drain"],
    ["invoke"],
    ["routes"],
    ["dead-letters", "list"],
    ["dead-letters", "retry"],
    ["dead-letters", "drop"],
    ["migrate"],
    ["tron"],
    ["runner"],
]


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Run in an empty folder; the Tron's port is one where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUNCATRON_CONFIG", raising=False)
    monkeypatch.setenv("FUNCATRON_ADMIN_PORT", str(port))
    monkeypatch.setenv("FUNCATRON_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command, capsys):
    assert run([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"funcatron {command[0]}" in shown
    assert "Examples" in shown


def test_the_list_of_commands_in_this_test_is_complete():
    made = app.typer.main.get_command(app.app)
    assert set(made.commands) == {command[0] for command in COMMANDS}


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["describe", "x"],
        ["undeploy", "x"],
        ["enable", "x"],
        ["disable", "x"],
        ["invoke", "x/y"],
        ["routes"],
        ["history"],
        ["rollback", "x"],
        ["split", "x", "aaaa=50", "bbbb=50"],
        ["promote", "x", "aaaa"],
        ["scale", "x", "--max", "3"],
        ["scaling", "x"],
        ["trons"],
        ["runners"],
        ["drain", "r1"],
        ["dead-letters", "list"],
        ["logs", "--name", "x"],
    ],
    ids=" ".join,
)
def test_a_tron_that_is_not_there_is_told_with_its_address_and_what_to_do(command, capsys):
    assert run(command) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.match(r"error: no Tron answers at http://127.0.0.1:\d+: .*make up", shown.err)


@pytest.mark.parametrize(
    "command",
    [
        ["nosuch"],
        ["deploy"],
        ["deploy", "/no/such/file"],
        ["--set", "x=1", "list"],
        ["logs", "-n", "x"],
        ["rollback"],
        ["split", "x"],
        ["split", "x", "aaaa=50", "bbbb"],
        ["split", "x", "aaaa=1000", "bbbb=50"],
        ["split", "x", "aaaa=50", "bbbb=50", "--rollback-above", "5"],
        ["split", "x", "aaaa=50", "bbbb=50", "--rollback-above", "100%"],
        ["promote", "x"],
        ["scale", "x", "--min", "-1"],
        ["history", "-n", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(command, capsys):
    assert run(command) == 2
    assert capsys.readouterr().err


def test_nothing_running_is_said_and_is_exit_code_1(capsys):
    assert run(["status"]) == 1
    assert "make up" in capsys.readouterr().out
    assert run(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []


def test_taking_down_what_does_not_run_is_fine(capsys):
    assert run(["down"]) == 0
    assert "nothing ran" in capsys.readouterr().out


def test_the_version_is_shown(capsys):
    assert run(["--version"]) == 0
    assert re.fullmatch(r"funcatron \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_secrets_are_masked_and_every_setting_is_listed(capsys):
    assert run(["--token", "topsecret-topsecret", "--set", "broker_password=alsosecret", "config", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "secret-" not in shown
    assert "alsosecret" not in shown
    rows = {row["name"]: row for row in json.loads(shown)}
    assert set(rows) == set(Settings.model_fields)
    assert rows["admin_token"]["source"] == "flag"
    assert rows["admin_port"]["source"] == "environment (FUNCATRON_ADMIN_PORT)"


def test_a_settings_file_that_is_named_but_not_there_is_told(capsys, nowhere):
    assert run(["--config", str(nowhere / "none.toml"), "config"]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_no_colour_codes_without_a_terminal(capsys):
    run(["config"])
    run(["list"])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


def test_the_password_in_a_url_is_masked_as_well(capsys, monkeypatch):
    monkeypatch.setenv("FUNCATRON_REGISTRY", "postgresql+psycopg://somebody:very-secret@database/funcatron")
    assert run(["config", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "very-secret" not in shown
    assert "somebody:**********@database" in shown
