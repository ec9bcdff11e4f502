"""The data folder and its secrets."""

import pytest

from funcatron.stack import StackError
from funcatron.stack.folders import SOCKET_PATH_MAX, Folders


def test_secrets_are_made_once_and_are_for_the_owner_only(tmp_path):
    folders = Folders(tmp_path / "var")
    folders.make()
    secret = folders.secret("broker")
    assert len(secret) == 32
    assert folders.secret("broker") == secret
    assert folders.secret("cookie") != secret
    assert (folders.secrets / "broker").stat().st_mode & 0o777 == 0o600
    assert folders.secrets.stat().st_mode & 0o777 == 0o700


def test_permissions_that_were_opened_are_closed_again(tmp_path):
    folders = Folders(tmp_path / "var")
    folders.make()
    folders.secrets.chmod(0o755)
    folders.make()
    assert folders.secrets.stat().st_mode & 0o777 == 0o700


def test_a_long_path_gets_its_control_socket_elsewhere(tmp_path):
    deep = Folders(tmp_path / ("x" * 100))
    deep.make()
    assert len(str(deep.supervisor_socket)) <= SOCKET_PATH_MAX
    assert deep.supervisor_socket.parent.stat().st_mode & 0o777 == 0o700
    assert Folders(tmp_path / ("y" * 100)).supervisor_socket != deep.supervisor_socket
    deep.supervisor_socket.parent.rmdir()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be made"):
        Folders(tmp_path / "file" / "var").make()


@pytest.mark.parametrize("name", ["it's", 'a"b', "a$b", "a\\b", "a\nb"])
def test_a_path_that_the_servers_cannot_bear_is_refused(tmp_path, name):
    with pytest.raises(StackError, match="data folder"):
        Folders(tmp_path / name).make()


@pytest.mark.parametrize("name", ["a b", "ä", "100%", "a;b", "a,b", "a{b}", "-x"])
def test_other_unusual_paths_are_fine(tmp_path, name):
    Folders(tmp_path / name).make()
