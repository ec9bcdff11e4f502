"""The settings file and the supervisor's configuration."""

import configparser
import subprocess
import tomllib
from pathlib import Path

import pytest

from funcatron import settings
from funcatron.settings import Settings
from funcatron.stack import StackError, frontend, parts, supervisor
from funcatron.stack.folders import Folders
from funcatron.stack.parts import Part
from funcatron.stack.render import settings_file


@pytest.fixture
def folders(tmp_path):
    made = Folders(tmp_path / 'v a"r')
    for folder in (made.run, made.log, made.nginx, made.secrets):
        folder.mkdir(parents=True)
    return made


def test_the_parts_read_exactly_the_settings_that_the_stack_has(tmp_path, monkeypatch):
    given = Settings(
        data=tmp_path / 'd "1" ä\\', admin_token="s\x7f'\n", http_port=1234, request_timeout=1.5, broker_tls=True
    )
    file = tmp_path / "settings.toml"
    file.write_text(settings_file(given))
    monkeypatch.setenv("FUNCATRON_CONFIG", str(file))
    assert settings.load() == given


def test_relative_paths_become_absolute():
    assert tomllib.loads(settings_file(Settings(data=Path("var"))))["data"] == str(Path("var").absolute())


def test_a_script_passes_values_and_arguments_unharmed(tmp_path):
    hostile = "a b'c\"d$e`f`\\g;h%i\nj"
    part = Part("x", ("/usr/bin/env", f"OTHER={hostile}"), 1, 1, environment={"VALUE": hostile})
    script = tmp_path / "script"
    script.write_text(part.script())
    answer = subprocess.run(["/bin/sh", str(script)], capture_output=True, text=True, check=True, env={})
    assert f"VALUE={hostile}" in answer.stdout
    assert f"OTHER={hostile}" in answer.stdout


def test_the_supervisors_configuration_names_every_part_and_no_secret_but_its_own(folders):
    made = [
        Part("one", ("true",), 10, 5),
        Part("two", ("true",), 20, 7, stop_signal="QUIT", environment={"A": "secret"}),
    ]
    supervisor.Supervisor(folders).write(made)
    text = folders.supervisor_config.read_text()
    config = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    config.read_string(text)
    assert config["program:two"]["stopsignal"] == "QUIT"
    assert config["program:two"]["stopwaitsecs"] == "7"
    assert "secret" not in text
    for part in made:
        assert (folders.run / "parts" / part.name).stat().st_mode & 0o777 == 0o600


def test_the_broker_starts_first_and_stops_last(folders):
    made = parts.parts_of(Settings(runners=2), folders, "secret")
    order = [part.name for part in sorted(made, key=lambda part: part.priority)]
    assert order == ["epmd", "broker", "tron", "runner-1", "runner-2", "frontend"]


def test_settings_reach_the_parts_by_file_only(folders, monkeypatch):
    monkeypatch.setenv("FUNCATRON_ADMIN_TOKEN", "secret")
    made = parts.base_environment(folders)
    assert not [name for name in made if name.startswith("FUNCATRON_")]


@pytest.mark.parametrize(("setting", "cores", "number"), [("auto", 1, 1), ("auto", 2, 1), ("auto", 4, 2), ("7", 2, 7)])
def test_nginx_gets_half_of_the_cores_unless_a_setting_says_otherwise(setting, cores, number):
    assert frontend.workers(setting, cores) == number


@pytest.mark.parametrize("setting", ["0", "many", "-2"])
def test_a_senseless_number_of_workers_is_refused(setting):
    with pytest.raises(StackError, match="nginx_workers"):
        frontend.workers(setting, 2)


def test_nginx_variables_are_left_alone_and_ours_are_filled_in():
    made = frontend.Conf("$host ${request_id} $1 ${WORKERS} $$").safe_substitute(WORKERS="3")
    assert made == "$host ${request_id} $1 3 $"
