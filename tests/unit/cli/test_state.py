"""Settings by flag, environment and file, and where each comes from."""

import pytest

from funcatron.cli.state import State, split_pair
from funcatron.errors import SettingsError


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUNCATRON_CONFIG", raising=False)
    return tmp_path


def test_a_flag_wins_over_the_environment_and_that_over_the_file(somewhere, monkeypatch):
    (somewhere / "funcatron.toml").write_text("http_port = 1\nadmin_port = 1\namqp_port = 1\n")
    monkeypatch.setenv("FUNCATRON_HTTP_PORT", "2")
    monkeypatch.setenv("FUNCATRON_ADMIN_PORT", "2")
    state = State.of(["http_port=3"])
    assert (state.settings.http_port, state.settings.admin_port, state.settings.amqp_port) == (3, 2, 1)
    assert state.source("http_port") == "flag"
    assert state.source("admin_port") == "environment (FUNCATRON_ADMIN_PORT)"
    assert state.source("amqp_port") == "file (funcatron.toml)"
    assert state.source("stomp_port") == "default"


def test_an_unknown_setting_is_an_error_that_names_it():
    with pytest.raises(SettingsError, match="unknown setting: htpp_port"):
        State.of(["htpp_port=3"])


@pytest.mark.parametrize("pair", ["x", "=x", ""])
def test_a_pair_needs_a_name_and_a_value(pair):
    with pytest.raises(SettingsError, match="NAME=VALUE"):
        split_pair(pair)


def test_names_of_settings_may_have_dashes_but_others_are_exact():
    assert split_pair("HTTP-port=1=2") == ("http_port", "1=2")
    assert split_pair("X-y=", exact=True) == ("X-y", "")
