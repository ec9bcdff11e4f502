"""How a Func host lives and ends: loading, many calls at once, time, floods, limits, death. With real processes."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from funcatron.errors import HostError, LoadError
from funcatron.hosts import Answer, Host, Limits, User, driver
from funcatron.hosts.python.interpreters import installed
from tests.hosting import WAIT, Bench, hosting, operations, write_pex

CODE = '''
import asyncio, ctypes, os, signal, subprocess, sys, threading, time

def quick(number=0):
    return number

def sleep(seconds):
    time.sleep(seconds)
    return "slept"

async def sleep_async(seconds):
    await asyncio.sleep(seconds)
    return "slept"

def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"

def stubborn(seconds):
    """Holds the interpreter's lock: nothing in this process runs meanwhile."""
    ctypes.PyDLL(None).usleep(int(seconds * 1000000))
    return "done"

def cleans_up():
    try:
        while True:
            time.sleep(0.01)
    finally:
        print("cleaned up")

async def cleans_up_async():
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned up")

running = 0
most = 0

def counted(seconds):
    global running, most
    running += 1
    most = max(most, running)
    time.sleep(seconds)
    running -= 1
    return most

def crash():
    ctypes.string_at(0)

def leave():
    os._exit(3)

def child():
    process = subprocess.Popen(["sleep", "1000"])
    return process.pid

def allocate(count):
    return len(bytearray(count))

def open_files():
    files = []
    try:
        while True:
            files.append(open("/dev/null"))
    except OSError as err:
        return str(err)

def environment():
    return dict(os.environ)

def identity():
    return {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "session": os.getsid(0),
            "nonewprivs": "NoNewPrivs:\\t1" in open("/proc/self/status").read(), "cwd": os.getcwd(),
            "home": os.environ["HOME"], "writes": open(os.path.join(os.environ["HOME"], "x"), "w").write("x")}

def reads(path):
    try:
        return open(path, "rb").read(10).hex()
    except OSError as err:
        return type(err).__name__

def writes(path):
    try:
        open(path, "w")
        return "written"
    except OSError as err:
        return type(err).__name__

def breaks_the_protocol(data):
    for name in os.listdir("/proc/self/fd"):
        if os.readlink("/proc/self/fd/" + name).startswith("socket:"):
            os.write(int(name), bytes.fromhex(data))

def large(count):
    return b"x" * count

def length(body):
    return len(body)
'''


def value(answer: Answer) -> Any:
    assert answer.status < 400, answer
    return json.loads(bytes(answer.body))


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


# -- loading ---------------------------------------------------------------------------------------------------------


async def refused(code: str, *ids: str, **more: Any) -> list[str]:
    with pytest.raises(LoadError) as caught:
        async with hosting(code, specs={name: {} for name in ids}, **more):
            pass
    return list(caught.value.problems)


async def test_all_that_is_wrong_with_a_bundle_is_said_at_once() -> None:
    problems = await refused(
        "def greet(): pass\ndef good(): pass\nnumber = 3\nclass Needs:\n    def __init__(self, x): pass\n"
        "    def method(self): pass\n",
        "gret",
        "number",
        "Needs.method",
        checkers=["app.chekker", "security.check", "nodots"],
    )
    assert len(problems) == 6
    assert "app has no gret (did you mean greet?); found there: Needs, good, greet" in problems[0]
    assert "it is a int, which cannot be called" in problems[1]
    assert "the class Needs cannot be made without arguments" in problems[2]
    assert problems[3].startswith("security function app.chekker: app has no chekker")
    assert "there is no module security; the bundle has: app" in problems[4]
    assert "it names no module" in problems[5]


async def test_a_module_that_fails_is_reported_once_with_the_users_part_of_the_trace() -> None:
    problems = await refused("import nothing_like_this\n", "one", "two")
    assert len(problems) == 2
    assert "the module app cannot be imported" in problems[0]
    assert "No module named 'nothing_like_this'" in problems[0]
    assert "funcatron_host" not in problems[0]
    assert problems[1] == "operation app.two: the module app cannot be imported, see above"
    broken = {"broken.py": "def broken(: pass\n"}
    assert "SyntaxError" in (await refused("import broken\n", "x", files=broken))[0]
    assert "SystemExit" in (await refused("raise SystemExit(1)\n", "x"))[0]


async def test_a_parameter_that_the_spec_never_gives_is_an_error() -> None:
    code = "def greet(nam): pass\ndef fine(name, body, user, context, more=1): pass\n"
    with pytest.raises(LoadError) as caught:
        async with hosting(code, specs={"greet": {"arguments": ["name"]}, "fine": {"arguments": ["name"]}}):
            pass
    assert list(caught.value.problems) == ["operation app.greet: it needs nam, but the spec gives it: name"]


async def test_a_host_that_does_not_start_says_what_it_said(tmp_path: Path) -> None:
    prepared = await driver("python").prepare(write_pex(tmp_path / "a.pex", {}), tmp_path / "cache" / "a")
    (tmp_path / "cache" / "a" / "env" / "bin" / "python").unlink()
    with pytest.raises(HostError, match="exited with code"):
        await Host.start(driver("python"), prepared, {}, on_log=print, on_exit=print, run=tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("funcatron-host-")]


async def test_a_bundle_may_bring_its_own_funcatron() -> None:
    async with hosting("import funcatron\ndef f(): return funcatron.own\n", files={"funcatron.py": "own = 7"}) as bench:
        assert value(await bench.call("f")) == 7


# -- many calls at once ----------------------------------------------------------------------------------------------


async def test_functions_that_wait_run_side_by_side_and_do_not_hold_up_others() -> None:
    async with hosting(CODE, concurrency=8) as bench:
        began = time.monotonic()
        slow = [bench.send("sleep", {"seconds": 0.5}) for _ in range(7)]
        await bench.call("quick")
        assert time.monotonic() - began < 0.4
        await asyncio.gather(*slow)
        assert time.monotonic() - began < 1.5


async def test_coroutines_run_side_by_side_and_beside_functions() -> None:
    async with hosting(CODE, concurrency=32) as bench:
        began = time.monotonic()
        calls = [bench.send("sleep_async", {"seconds": 0.5}) for _ in range(20)]
        calls += [bench.send("sleep", {"seconds": 0.5}) for _ in range(10)]
        assert value(await bench.call("quick", {"number": 3})) == 3
        await asyncio.gather(*calls)
        assert time.monotonic() - began < 2


async def test_never_more_calls_run_than_the_concurrency() -> None:
    async with hosting(CODE, concurrency=3) as bench:
        answers = await asyncio.gather(*(bench.call("counted", {"seconds": 0.02}) for _ in range(15)))
        assert max(value(answer) for answer in answers) <= 3
    async with hosting(CODE, concurrency=1) as bench:
        answers = await asyncio.gather(*(bench.call("counted", {"seconds": 0.02}) for _ in range(5)))
        assert max(value(answer) for answer in answers) == 1
        await asyncio.gather(*(bench.call("sleep_async", {"seconds": 0.01}) for _ in range(3)))


async def test_every_call_of_thousands_is_answered_once_with_its_own_answer() -> None:
    async with hosting(CODE, concurrency=16) as bench:
        total = 5000
        answers: dict[int, int] = {}

        def got(number: int, answer: Answer | None) -> None:
            assert answer is not None
            assert number not in answers
            answers[number] = value(answer)
            if len(answers) == total:
                done.set()

        done = asyncio.Event()
        for number in range(total):
            seconds = {"number": number}
            header, body = bench.frame("quick", seconds, {})
            bench.host.call(header, body, lambda answer, number=number: got(number, answer))  # type: ignore[misc]
        assert bench.host.in_flight == total
        await asyncio.wait_for(done.wait(), WAIT)
        assert answers == {number: number for number in range(total)}
        assert bench.host.in_flight == 0


ASYNC = """
import asyncio, time

async def sleep(seconds):
    await asyncio.sleep(seconds)
    return "slept"

async def quick(number=0):
    return number

async def cleans_up():
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned up")

async def pieces():
    for number in range(3):
        yield f"{number}"
        await asyncio.sleep(0)

running = most = 0

async def counted(seconds):
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(seconds)
    running -= 1
    return most

async def raises():
    raise ValueError("it is broken")

def _slow_check(token):
    time.sleep(0.3)
    return {"sub": token}
"""
CHECK = {"scheme": "s", "kind": "bearer", "check": "app._slow_check", "args": ["ada"], "scopes": []}


async def test_a_bundle_of_coroutines_alone_holds_to_the_same_rules() -> None:
    async with hosting(ASYNC, concurrency=20, checkers=["app._slow_check"]) as bench:
        began = time.monotonic()
        calls = [bench.send("sleep", {"seconds": 0.3}) for _ in range(10)]
        calls += [bench.send("quick", {"number": 7}, security=[[CHECK]]) for _ in range(8)]
        assert value(await bench.call("quick", {"number": 3})) == 3
        assert time.monotonic() - began < 0.25
        answers = await asyncio.gather(*calls)
        assert time.monotonic() - began < 1.5
        assert [value(answer) for answer in answers if answer] == ["slept"] * 10 + [7] * 8
        assert bytes((await bench.call("pieces")).body) == b"012"
        assert (await bench.call("raises")).failed
        call = bench.send("cleans_up")
        await bench.call("quick")
        bench.host.cancel(call.number)  # type: ignore[attr-defined]
        answer = await asyncio.wait_for(call, WAIT)
        assert answer is not None
        assert answer.status == 504
        await bench.until(lambda: "cleaned up" in bench.messages("id-cleans_up"))
        last = bench.send("sleep", {"seconds": 0.2})
        await bench.call("quick")
        await bench.host.stop(WAIT)
        assert (await last) is not None
        assert bench.exits == [0]


async def test_a_bundle_of_coroutines_alone_runs_no_more_than_its_concurrency() -> None:
    async with hosting(ASYNC, concurrency=3) as bench:
        calls = [bench.call("counted", {"seconds": 0.01}) for _ in range(30)]
        assert max(value(answer) for answer in await asyncio.gather(*calls)) == 3
        late = [bench.send("sleep", {"seconds": 0.3}) for _ in range(4)]
        bench.host.cancel(late[3].number)  # type: ignore[attr-defined]
        answer = await asyncio.wait_for(late[3], WAIT)
        assert answer is not None
        assert answer.status == 504
        await asyncio.gather(*late)


async def test_large_bodies_reach_a_bundle_of_coroutines_alone() -> None:
    code = "async def length(body): return len(body)\nasync def large(count): return b'x' * count\n"
    async with hosting(code) as bench:
        calls = [bench.send("length", body_kind="binary", body=b"y" * size) for size in (3, 5_000_000, 65_537, 1)]
        answers = await asyncio.wait_for(asyncio.gather(*calls), WAIT)
        assert [value(answer) for answer in answers if answer] == [3, 5_000_000, 65_537, 1]
        assert len((await bench.call("large", {"count": 5_000_000})).body) == 5_000_000


async def test_hosts_run_on_every_python_that_is_installed(tmp_path: Path) -> None:
    for number, interpreter in enumerate(installed()):
        version = ".".join(map(str, interpreter.version[:2]))
        code = "import sys\ndef f(a): return [a, list(sys.version_info[:2])]\nasync def g(a): return f(a)\n"
        info = {"interpreter_constraints": [f"=={version}.*"]}
        bundle = write_pex(tmp_path / f"{number}.pex", {"app.py": code}, info)
        bench = Bench()
        made = driver("python")
        prepared = await made.prepare(bundle, tmp_path / "cache" / str(number))
        load = {"operations": operations(code)}
        bench.host = await Host.start(made, prepared, load, on_log=bench.on_log, on_exit=bench.on_exit, run=tmp_path)
        for function in ("f", "g"):
            assert value(await bench.call(function, {"a": 1})) == [1, list(interpreter.version[:2])]
        await bench.host.stop(WAIT)
        assert bench.lines == []


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cleans_up", "cleans_up_async"])
async def test_a_cancelled_call_is_ended_and_can_clean_up(name: str) -> None:
    async with hosting(CODE) as bench:
        call = bench.send(name)
        await bench.call("sleep", {"seconds": 0.05})
        bench.host.cancel(call.number)  # type: ignore[attr-defined]
        answer = await asyncio.wait_for(call, WAIT)
        assert answer is not None
        assert (answer.status, answer.failed) == (504, True)
        assert answer.error == {"kind": "cancelled"}
        await bench.until(lambda: "cleaned up" in bench.messages(f"id-{name}"))
        assert value(await bench.call("quick", {"number": 1})) == 1


async def test_a_call_that_has_not_begun_can_be_cancelled() -> None:
    async with hosting(CODE, concurrency=1) as bench:
        first, second = bench.send("sleep", {"seconds": 0.3}), bench.send("sleep", {"seconds": 30})
        bench.host.cancel(second.number)  # type: ignore[attr-defined]
        answer = await asyncio.wait_for(second, WAIT)
        assert answer is not None
        assert answer.status == 504
        assert not first.done()
        await asyncio.wait_for(first, WAIT)


async def test_cancels_never_hit_another_call() -> None:
    async with hosting(CODE, concurrency=4) as bench:
        for _ in range(150):
            victim = bench.send("spin", {"seconds": 0.002})
            others = [bench.send("quick", {"number": number}) for number in range(3)]
            await asyncio.sleep(0.002)
            bench.host.cancel(victim.number)  # type: ignore[attr-defined]
            for number, other in enumerate(others):
                answer = await asyncio.wait_for(other, WAIT)
                assert answer is not None
                assert value(answer) == number
            answer = await asyncio.wait_for(victim, WAIT)
            assert answer is not None
            assert answer.status in (200, 504)


async def test_a_host_whose_interpreter_is_held_does_not_answer_a_ping_and_can_be_killed() -> None:
    async with hosting(CODE) as bench:
        pong: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        bench.host.ping(pong.set_result)
        assert await asyncio.wait_for(pong, WAIT)
        call = bench.send("stubborn", {"seconds": 30})
        late: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        await asyncio.sleep(0.1)
        bench.host.ping(late.set_result)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(late), 0.3)
        bench.host.kill()
        assert await asyncio.wait_for(call, WAIT) is None
        assert await asyncio.wait_for(late, WAIT) is None


# -- death -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("crash", -signal.SIGSEGV), ("leave", 3)])
async def test_when_a_host_dies_all_its_calls_are_told(name: str, code: int) -> None:
    async with hosting(CODE) as bench:
        calls = [bench.send("sleep", {"seconds": 30}), bench.send("sleep_async", {"seconds": 30}), bench.send(name)]
        assert await asyncio.wait_for(asyncio.gather(*calls), WAIT) == [None, None, None]
        await asyncio.wait_for(bench.exited.wait(), WAIT)
        assert bench.exits == [code]
        assert any(f"the Func host {bench.host.pid}" in message for message in bench.messages())
        after = bench.send("quick")
        assert await asyncio.wait_for(after, WAIT) is None
        assert not bench.host.alive
    if name == "crash":
        assert any("Segmentation fault" in message for message in bench.messages())  # faulthandler's, from the pipe


async def test_what_a_host_started_dies_with_it() -> None:
    async with hosting(CODE) as bench:
        pid = value(await bench.call("child"))
        os.kill(pid, 0)  # it is there
        os.kill(bench.host.pid, signal.SIGKILL)
        await asyncio.wait_for(bench.exited.wait(), WAIT)
        await asyncio.to_thread(wait_for_end, pid)


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, or a zombie that nobody reaps (in a container without an init)."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([ended], [], [], WAIT)[0], f"process {pid} still runs"
    finally:
        os.close(ended)


RUNNER = """
import asyncio, sys
from tests.hosting import hosting

async def main():
    async with hosting("import time\\ndef f(): time.sleep(60)\\n") as bench:
        bench.send("f")
        print(bench.host.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_host_dies_with_its_runner_also_in_the_middle_of_a_call() -> None:
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNNER, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert runner.stdout is not None
    pid = int(await asyncio.wait_for(runner.stdout.readline(), WAIT))
    assert cmdline(pid) == "funcatron host 01234567"
    runner.kill()
    await runner.wait()
    await asyncio.to_thread(wait_for_end, pid)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 20,  # lengths of gigabytes
        b"\0\0\0\x02\0\0\0\0[]",
        b'\0\0\0\x0e\0\0\0\0{"type":"own"}',
        b'\0\0\0\x11\0\0\0\0{"type":"answer"}',
    ],
)
async def test_a_host_that_breaks_the_protocol_is_killed_and_the_reason_is_logged(data: bytes) -> None:
    async with hosting(CODE) as bench:
        calls = [bench.send("sleep", {"seconds": 30}), bench.send("breaks_the_protocol", {"data": data.hex()})]
        answers = await asyncio.wait_for(asyncio.gather(*calls), WAIT)
        assert answers[0] is None
        assert any("broke its protocol" in message for message in bench.messages())


async def test_stop_lets_running_calls_finish_and_then_exits_cleanly() -> None:
    async with hosting(CODE, concurrency=4) as bench:
        calls = [bench.send("sleep", {"seconds": 0.3}), bench.send("sleep_async", {"seconds": 0.3})]
        await bench.call("quick")
        folder = bench.host._folder
        assert folder is not None
        assert folder.name in os.listdir(folder.parent)
        await bench.host.stop(WAIT)
        assert [answer and answer.status for answer in await asyncio.gather(*calls)] == [200, 200]
        await asyncio.wait_for(bench.exited.wait(), WAIT)
        assert bench.exits == [0]
        assert folder.name not in os.listdir(folder.parent)


async def test_stop_kills_what_does_not_finish() -> None:
    async with hosting(CODE) as bench:
        call = bench.send("sleep", {"seconds": 60})
        await bench.call("quick")
        await bench.host.stop(0.1)
        assert await asyncio.wait_for(call, WAIT) is None


# -- protection ------------------------------------------------------------------------------------------------------


async def test_the_environment_of_a_host_has_nothing_of_the_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCATRON_BROKER_PASSWORD", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with hosting(CODE) as bench:
        found = value(await bench.call("environment"))
        assert "secret" not in found.values()
        assert not [name for name in found if name.startswith(("FUNCATRON", "AWS", "PYTEST"))]
        assert b"secret" not in environ(bench.host.pid)


async def test_a_host_shows_its_role_and_its_bundle_in_ps() -> None:
    async with hosting(CODE) as bench:
        assert cmdline(bench.host.pid) == "funcatron host 01234567"
        assert bench.host.rss() < 40 * 1024 * 1024
        assert bench.host.cpu() < 10
        assert bench.host.python.startswith("3.")


async def test_a_host_runs_in_a_session_of_its_own_without_new_privileges() -> None:
    async with hosting(CODE) as bench:
        found = value(await bench.call("identity"))
        assert found["session"] == bench.host.pid
        assert found["nonewprivs"]
        assert found["writes"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="machine: only root can start hosts as other users")
async def test_a_host_of_its_own_user_reads_its_bundle_and_no_secrets(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o600)
    async with hosting(CODE, user=User(211111, 211111)) as bench:
        found = value(await bench.call("identity"))
        assert (found["uid"], found["gid"], found["groups"]) == (211111, 211111, [])
        assert value(await bench.call("reads", {"path": str(secret)})) == "PermissionError"
        assert value(await bench.call("reads", {"path": f"/proc/{os.getpid()}/environ"})) == "PermissionError"
        assert value(await bench.call("writes", {"path": found["cwd"] + "/app.py"})) == "PermissionError"
        assert value(await bench.call("reads", {"path": found["cwd"] + "/app.py"})) != "PermissionError"
        assert cmdline(bench.host.pid) == "funcatron host 01234567"


async def test_memory_and_files_are_limited() -> None:
    async with hosting(CODE, limits=Limits(memory=512 * 1024 * 1024, files=64)) as bench:
        assert value(await bench.call("allocate", {"count": 10_000_000})) == 10_000_000
        assert (await bench.call("allocate", {"count": 1_000_000_000})).failed
        assert any("MemoryError" in line.get("exception", "") for line in bench.lines)
        assert "Too many open files" in value(await bench.call("open_files"))
        assert value(await bench.call("quick", {"number": 1})) == 1


async def test_a_host_that_used_its_cpu_seconds_ends_with_a_reason() -> None:
    async with hosting(CODE, limits=Limits(cpu=1)) as bench:
        assert await asyncio.wait_for(bench.send("spin", {"seconds": 30}), WAIT) is None
        await asyncio.wait_for(bench.exited.wait(), WAIT)
        assert any("used all the CPU seconds" in message for message in bench.messages())


# -- sizes -----------------------------------------------------------------------------------------------------------


async def test_large_bodies_pass_both_ways() -> None:
    size = 20_000_000
    async with hosting(CODE) as bench:
        assert len((await bench.call("large", {"count": size})).body) == size
        sent = await bench.call("length", body_kind="binary", body=b"y" * size)
        assert value(sent) == size
        assert value(await bench.call("quick", {"number": 1})) == 1


async def test_frames_after_a_large_one_arrive() -> None:
    async with hosting(CODE) as bench:
        calls = [bench.send("quick", {"number": 1})]
        calls += [bench.send("length", body_kind="binary", body=b"y" * size) for size in (70_000, 1, 300_000, 65_536)]
        calls += [bench.send("quick", {"number": 2})]
        answers = await asyncio.wait_for(asyncio.gather(*calls), WAIT)
        assert [value(answer) for answer in answers if answer] == [1, 70_000, 1, 300_000, 65_536, 2]
