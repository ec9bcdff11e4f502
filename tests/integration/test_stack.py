"""`funcatron up`, `down`, `status`, `logs` on real servers: idempotent, recovering, leaving nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from funcatron.client import Client
from funcatron.stack import processes
from tests.stack import PrivateStack, free_ports, running

ROOT = Path(__file__).parents[2]


def funcatron(stack: PrivateStack, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line against a stack."""
    return subprocess.run(
        [sys.executable, "-m", "funcatron.cli", *arguments],
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=150,
        **options,
    )


def deploy(stack: PrivateStack, bundle: Path) -> None:
    done = funcatron(stack, "deploy", str(bundle))
    assert done.returncode == 0, done.stdout + done.stderr + stack.logs()


def greet(stack: PrivateStack) -> httpx.Response:
    return httpx.get(f"{stack.url}/hello/greet", params={"name": "Ada", "times": 2}, timeout=15, trust_env=False)


def test_up_is_idempotent_and_what_was_deployed_survives_down_and_up(new_stack, bundles):
    stack = new_stack.up()
    deploy(stack, bundles["hello"])
    assert greet(stack).json() == {"greeting": "Hello, Ada! Hello, Ada!", "times": 2}
    before = {part.name: part.pid for part in stack.stack.status()}

    began = time.monotonic()
    assert stack.stack.up() is False
    assert time.monotonic() - began < 5
    assert {part.name: part.pid for part in stack.stack.status()} == before

    stack.down()
    assert stack.processes() == []
    assert not any(
        listens(getattr(stack.settings, name)) for name in ("http_port", "admin_port", "amqp_port", "epmd_port")
    )
    assert stack.stack.down() is False

    stack.up()
    stack.wait_for(lambda: greet(stack).status_code == 200, "hello is served again")


def test_every_role_shows_in_ps(shared_stack, bundles):
    deploy(shared_stack, bundles["hello"])
    assert greet(shared_stack).status_code == 200
    for role in ("supervisor", "broker", "tron", "runner", "host", "nginx", "nginx worker"):
        assert shared_stack.processes(role), f"no process of role {role}: {shared_stack.processes()}"
    with Client.of(shared_stack.settings) as client:
        sha = client.deployment("hello")["sha"]
    assert any(one.command.startswith(f"funcatron host {sha[:8]}") for one in shared_stack.processes("host"))


def test_a_taken_port_is_told_with_who_has_it_and_the_setting_and_nothing_is_started(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        stack = PrivateStack(tmp_path / "var", http_port=port)
        answer = funcatron(stack, "up")
        assert answer.returncode == 1
        assert f"port {port}" in answer.stderr
        assert f"process {os.getpid()}" in answer.stderr
        assert "FUNCATRON_HTTP_PORT" in answer.stderr
        assert "Traceback" not in answer.stderr
        assert stack.processes() == []


@pytest.mark.parametrize("role", ["tron", "runner", "nginx", "nginx worker", "broker"])
def test_a_part_that_is_killed_comes_back(shared_stack, role):
    before = {process.pid for process in shared_stack.processes(role)}
    shared_stack.kill(role)
    shared_stack.wait_for(
        lambda: bool({process.pid for process in shared_stack.processes(role)} - before), f"{role} is back", 20
    )
    shared_stack.wait_ready(timeout=40)
    shared_stack.wait_for(
        lambda: all(state.state == "RUNNING" for state in shared_stack.states().values()), "all parts run", 20
    )


def test_up_and_down_clear_what_a_killed_supervisor_left(new_stack):
    stack = new_stack.up()
    stack.kill("supervisor")
    assert stack.processes("broker")
    assert stack.stack.up() is True
    assert all(part.fine for part in stack.stack.status())
    stack.kill("supervisor")
    assert stack.stack.down() is True
    assert stack.processes() == []


def test_up_starts_the_parts_that_were_stopped(shared_stack):
    shared_stack.stop_part("frontend")
    assert funcatron(shared_stack, "status").returncode == 1
    assert shared_stack.stack.up() is True
    assert funcatron(shared_stack, "status").returncode == 0


def test_other_settings_restart_the_stack_with_them(new_stack):
    first = new_stack.up()
    kept = {name: getattr(first.settings, name) for name in first.settings.model_fields_set - {"http_port"}}
    [port] = free_ports(1)
    second = PrivateStack(**kept, http_port=port)
    assert second.stack.up() is True
    assert listens(port)
    assert not listens(first.settings.http_port)


def test_two_ups_at_once_make_one_stack(new_stack):
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.append(PrivateStack(**of(new_stack)).stack.up())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(answers) == [False, True]
    assert len(new_stack.processes("supervisor")) == 1


def test_two_stacks_run_side_by_side_and_do_not_meet(shared_stack, data_folder, bundles):
    with running(data_folder / "an other ä") as other:
        deploy(other, bundles["hello"])
        assert greet(other).status_code == 200
        pids = {process.pid for process in other.processes()}
        assert not pids & {process.pid for process in shared_stack.processes()}
        with Client.of(other.settings) as client:
            assert len(client.status()["runners"]) == 1
    shared_stack.wait_ready()


def test_status_and_logs_show_all_parts(shared_stack):
    shared_stack.wait_ready()
    answer = funcatron(shared_stack, "status", "--json")
    parts = json.loads(answer.stdout)
    assert [part["name"] for part in parts] == ["epmd", "broker", "tron", "runner-1", "frontend"]
    assert all(part["memory_bytes"] > 0 for part in parts)
    httpx.get(f"{shared_stack.url}/nowhere", headers={"X-Request-Id": "look-for-me"}, trust_env=False)
    shared_stack.wait_for(
        lambda: "look-for-me" in funcatron(shared_stack, "logs", "--request-id", "look-for-me").stdout,
        "the access line",
    )
    listed = funcatron(shared_stack, "logs", "--component", "tron", "--json").stdout.splitlines()
    assert listed
    assert {json.loads(line)["component"] for line in listed} == {"tron"}


def test_nothing_of_the_stack_listens_beyond_loopback(shared_stack):
    pids = [process.pid for process in shared_stack.processes()]
    sockets = set()
    for pid in pids:
        folder = Path(f"/proc/{pid}/fd")
        for entry in folder.iterdir() if folder.exists() else ():
            try:
                sockets.add(os.readlink(entry))
            except OSError:
                continue
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == processes.LISTEN and f"socket:[{fields[9]}]" in sockets:
            assert fields[1].startswith("0100007F:"), f"listens beyond loopback: {fields[1]}"


def test_secrets_are_not_in_command_lines_nor_in_logs(shared_stack):
    secret = shared_stack.password
    assert len(secret) >= 32
    assert not [process for process in shared_stack.processes() if secret in process.command]
    for file in shared_stack.stack.folders.log.iterdir():
        assert secret not in file.read_text(errors="replace"), file


def test_down_is_graceful_for_a_request_in_flight(new_stack, tmp_path):
    """The Frontend stops first and waits: a request that is being served is answered, not cut."""
    stack = new_stack.up()
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "slow.py").write_text("import time\n\n\ndef wait(seconds):\n    time.sleep(seconds)\n    return 'done'\n")
    (folder / "funcatron.yaml").write_text(
        """
swagger: "2.0"
info: {title: Slow, version: "1"}
basePath: /slow
paths:
  /wait:
    get:
      operationId: slow.wait
      parameters: [{name: seconds, in: query, type: number, required: true}]
      responses: {"200": {description: done}}
"""
    )
    bundle = tmp_path / "slow.pex"
    assert funcatron(stack, "bundle", str(folder), "-o", str(bundle)).returncode == 0
    deploy(stack, bundle)
    answers: list[int] = []
    caller = threading.Thread(
        target=lambda: answers.append(
            httpx.get(f"{stack.url}/slow/wait", params={"seconds": 3}, timeout=30, trust_env=False).status_code
        )
    )
    began = time.monotonic()
    caller.start()
    with Client.of(stack.settings) as client:
        stack.wait_for(lambda: client.status()["counters"] is not None, "the Tron counts")
    time_left = 1.0 - (time.monotonic() - began)
    caller.join(max(0.1, time_left))  # the request is under way, and far from its end
    stack.down()
    caller.join(30)
    assert answers == [200]


def test_an_interrupted_up_can_be_repeated(new_stack):
    process = subprocess.Popen(
        [sys.executable, "-m", "funcatron.cli", "up"], env=new_stack.environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "epmd" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) != 0
    process.stdout.close()
    new_stack.up()
    assert funcatron(new_stack, "status").returncode == 0


def of(stack: PrivateStack) -> dict[str, object]:
    return {name: getattr(stack.settings, name) for name in stack.settings.model_fields_set}


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0
