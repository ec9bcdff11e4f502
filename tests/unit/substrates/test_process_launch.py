"""How components are started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from funcatron.settings import Settings, load
from funcatron.substrates.base import State
from funcatron.substrates.process import Launch, folder, from_settings, launch, proc
from tests.substrates import seen, settled, until

ENV = {"PATH": os.environ["PATH"]}


def start(how: Launch, log: Path) -> launch.Started:
    return launch.start(how, how.argv, how.env, log)


async def test_a_process_that_is_not_let_go_ends_without_having_run(tmp_path: Path) -> None:
    for end in (launch.Started.drop, lambda started: os.close(started.pipe)):
        started = start(Launch(("/bin/touch", str(tmp_path / "ran")), ENV, tmp_path, 1.0), tmp_path / "log")
        assert proc.alive(started.identity)
        end(started)
        await until(lambda: not proc.alive(started.identity))  # noqa: B023
        proc.bury(started.identity)
    assert not (tmp_path / "ran").exists()


async def test_a_process_runs_in_its_folder_and_session_with_its_environment_and_usual_signals(tmp_path: Path) -> None:
    code = (
        "import os, signal; shells = {'PWD', 'OLDPWD', 'SHLVL', '_', 'LC_CTYPE'}; "
        "print(os.getcwd(), os.getsid(0) == os.getpid(), set(os.environ) - shells, os.umask(0), "
        "signal.getsignal(signal.SIGTERM), os.read(0, 1), sorted(map(int, os.listdir('/proc/self/fd'))))"
    )
    passed_on = os.dup(0)
    os.set_inheritable(passed_on, True)
    how = Launch((sys.executable, "-I", "-S", "-c", code), {"GIVEN": "1"}, tmp_path, 1.0, umask="027")
    started = start(how, tmp_path / "log")
    os.close(passed_on)
    started.go()
    await until(lambda: not proc.alive(started.identity))
    assert proc.bury(started.identity) == 0
    said = (tmp_path / "log").read_text()
    assert said == f"{tmp_path} True {{'GIVEN'}} 23 0 b'' [0, 1, 2, 3]\n"


def test_what_the_machine_refuses_is_an_error_of_the_system(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="No such file"):
        start(Launch(("/bin/true",), ENV, tmp_path, 1.0), tmp_path / "no" / "folder" / "log")
    assert os.listdir("/proc/self/fd") == before


def test_the_id_stands_where_the_command_wants_it(tmp_path: Path) -> None:
    it = Launch(("run", "{id}", "--name=x-{id}", "{other}"), {}, tmp_path, 1.0)
    assert it.command("runner-1") == ("run", "runner-1", "--name=x-runner-1", "{other}")


def test_runners_and_trons_get_the_environment_of_the_tron_and_what_it_was_given_by_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNCATRON_AMQP_PORT", "1234")
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "tron")
    monkeypatch.setenv("OTHER", "kept")
    made = launch.launches(load(data=tmp_path, admin_token="secret", substrate_grace=7.0))
    assert set(made) == {"runner", "tron"}
    runner, tron = made["runner"], made["tron"]
    assert runner.command("runner-9")[-2:] == ("runner", "runner-9")
    assert (runner.grace, runner.cwd, runner.umask, tron.umask) == (7.0, Path.cwd(), "022", "077")
    assert runner.env["FUNCATRON_DATA"] == str(tmp_path)
    assert runner.env["FUNCATRON_ADMIN_TOKEN"] == "secret"
    assert (runner.env["FUNCATRON_AMQP_PORT"], runner.env["OTHER"]) == ("1234", "kept")
    assert "SUPERVISOR_PROCESS_NAME" not in runner.env
    assert "FUNCATRON_HTTP_PORT" not in runner.env
    assert "secret" not in " ".join(runner.argv)
    assert (tron.command("tron-1")[-1], tron.env["FUNCATRON_ADMIN_PORT"]) == ("tron", "0")


async def test_a_real_runner_is_started_and_drained(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    substrate = from_settings(Settings(data=tmp_path / "data", broker="memory", log_level="INFO"))
    request.addfinalizer(lambda: folder.stop_all(tmp_path / "data", 1.0))
    await substrate.open()
    await substrate.scale("runner", 1, 1)
    (runner,) = (await settled(substrate, 1)).instances
    log = tmp_path / "data" / "log" / f"{runner.id}.log"
    await until(lambda: "awake" in log.read_text())
    figures = await substrate.usage("runner")
    assert figures[runner.id].resident_bytes > 10_000_000
    await substrate.drain("runner", runner.id, 1)
    view = await seen(substrate, "runner", lambda view: "exited" in view.instances[0].reason)
    assert view.instances[0].state is State.GONE
    assert view.instances[0].reason == "was told to end and exited with code 0"
    assert '"stopping"' in log.read_text()
    await substrate.close()
