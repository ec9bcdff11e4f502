"""Which processes belong to a stack, and how they are ended."""

import os
import signal
import subprocess
import sys

import pytest

from funcatron.stack import processes
from funcatron.stack.processes import MARKER

WAIT = "import sys, signal; print('on', flush=True); signal.pause()"


@pytest.fixture
def start():
    started = []

    def begin(code=WAIT, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline().strip() == "on"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_marker_in_its_environment_makes_a_process_a_member(start, tmp_path):
    ours, other, stranger = start(**{MARKER: str(tmp_path)}), start(**{MARKER: str(tmp_path / "x")}), start()
    found = {process.pid for process in processes.of_stack(tmp_path)}
    assert ours.pid in found
    assert not {other.pid, stranger.pid, os.getpid()} & found


def test_a_host_without_the_marker_is_known_by_its_socket(start, tmp_path):
    host = start(FUNCATRON_SOCKET=f"{tmp_path}/run/host.sock")
    assert [process.pid for process in processes.of_stack(tmp_path)] == [host.pid]


def test_descendants_of_members_are_members(start, tmp_path):
    code = (
        "import subprocess, sys, signal\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(\"on\", flush=True); input()'], env={}, stdin=-1)\n"
        "signal.pause()"
    )
    parent = start(code, **{MARKER: str(tmp_path)})
    found = processes.of_stack(tmp_path)
    assert len(found) == 2
    assert parent.pid in {process.pid for process in found}
    assert processes.end(found) == []


def test_the_caller_is_never_a_member_of_the_stack_that_it_stops(tmp_path, monkeypatch):
    code = (
        "from pathlib import Path; from funcatron.stack import processes;"
        f"print(processes.of_stack(Path({str(tmp_path)!r})))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, MARKER: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[]"


def test_a_process_that_ignores_the_request_is_killed(start, tmp_path):
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True)\nwhile 1: signal.pause()"
    )
    process = start(code)
    found = processes.read(process.pid)
    assert processes.end([found], grace=0.3) == []
    assert process.wait(5) == -signal.SIGKILL


def test_a_process_that_has_gone_is_not_alive(start):
    process = start()
    found = processes.read(process.pid)
    assert found is not None
    assert found.alive()
    process.kill()
    process.wait()
    assert not found.alive()
    assert processes.read(process.pid) is None


def test_a_later_process_with_the_same_id_is_another():
    me = processes.read(os.getpid())
    earlier = processes.Process(me.pid, me.parent, me.started - 1, me.command)
    assert me.alive()
    assert not earlier.alive()


def test_waiting_ends_with_the_condition_or_the_time():
    assert processes.wait_until(lambda: True, 0)
    assert not processes.wait_until(lambda: False, 0.05, every=0.01)
