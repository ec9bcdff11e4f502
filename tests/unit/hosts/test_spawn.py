"""How a host's process is started: what it may know, what it may use, and what is said when it cannot start."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import pytest

from funcatron.errors import HostError
from funcatron.hosts.base import Command, Limits, User
from funcatron.hosts.process import describe_exit
from funcatron.hosts.spawn import barrier, environment, hint, launcher, tool


def test_the_environment_keeps_what_is_harmless_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    made = environment(Command(("x",), {"EXTRA": "1"}, Path("/")), Path("/home"), Path("/home/socket"))
    assert made == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "de_DE.UTF-8",
        "HOME": "/home",
        "TMPDIR": "/home",
        "EXTRA": "1",
        "FUNCATRON_SOCKET": "/home/socket",
    }


def test_limits_become_flags_and_none_is_above_what_this_process_may_set() -> None:
    flags = launcher(Limits(memory=1 << 30, files=64, cpu=5), own_user=True)
    assert {"--as=1073741824:1073741824", "--nofile=64:64", "--cpu=5:6", "--core=0:0"} <= set(flags)
    assert any(flag.startswith("--nproc=") for flag in flags)
    assert not any(flag.startswith("--nproc=") for flag in launcher(Limits(), own_user=False))
    assert not any(flag.startswith("--as=") for flag in launcher(Limits(), own_user=False))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert f"--nofile={hard}:{hard}" in launcher(Limits(files=hard + 1), own_user=False)


def test_a_tool_that_is_missing_is_an_error_that_says_what_to_install() -> None:
    with pytest.raises(HostError, match="install util-linux"):
        tool("no-such-tool-anywhere")


def test_a_folder_that_others_cannot_pass_is_found() -> None:
    with tempfile.TemporaryDirectory() as name:
        inner = Path(name) / "a" / "b"
        inner.mkdir(parents=True)
        os.chmod(name, 0o755)
        assert barrier(inner) is None
        os.chmod(name, 0o700)
        assert barrier(inner) == Path(name)


def test_what_keeps_a_hosts_user_from_its_bundle_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        command = Command(("/bin/true",), {}, Path(name) / "code")
        assert f"user 222222 cannot pass {name}" in hint(command, User(222222, 222222))
        assert hint(command, None) == ""
        os.chmod(name, 0o755)
        assert hint(command, User(222222, 222222)) == ""


def test_exits_are_described() -> None:
    assert describe_exit(3) == "exited with code 3"
    assert describe_exit(-9).startswith("was killed by SIGKILL (out of memory")
    assert describe_exit(-11) == "was killed by SIGSEGV"
    assert describe_exit(-99) == "was killed by signal 99"
