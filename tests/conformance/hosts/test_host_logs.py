"""What user code writes becomes log records with the request id, wherever it is written; a flood hurts nobody."""

from __future__ import annotations

import asyncio
import time

from tests.hosting import hosting

CODE = """
import asyncio, logging, os, subprocess, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("my.module")
pool = ThreadPoolExecutor(1)

def prints():
    print("a line")
    print("no", end=" ")
    print("end")
    print("half", end="")
    sys.stderr.write("to stderr\\n")
    sys.stdout.buffer.write(b"bytes\\n")

def logs():
    log.debug("not shown")
    log.info("info %s", 1, extra={"pet": 7})
    log.warning("warned")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failed")
    warnings.warn("careful")
    log.error("wrong %s %s", 1)

def in_thread():
    thread = threading.Thread(target=lambda: print("from a thread"))
    thread.start()
    thread.join()

def in_pool():
    pool.submit(print, "from a pool").result()

def thread_dies():
    def die():
        raise ValueError("thread died")
    thread = threading.Thread(target=die, name="worker-7")
    thread.start()
    thread.join()

async def in_task():
    async def later():
        print("from a task")
    await asyncio.gather(later(), asyncio.to_thread(print, "from to_thread"))

async def task_dies():
    async def die():
        raise ValueError("task died")
    task = asyncio.ensure_future(die())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    import gc
    gc.collect()

def raw():
    os.write(1, b"raw stdout\\n")
    subprocess.run(["sh", "-c", "echo from a child >&2"])

def forks():
    import multiprocessing
    process = multiprocessing.get_context("fork").Process(target=print, args=("from a fork",))
    process.start()
    process.join()
    return process.exitcode

def floods(lines):
    for number in range(lines):
        print("x" * 1000, number)
    return "done"

def floods_raw(count):
    data = b"y" * 999 + b"\\n"
    for _ in range(count):
        os.write(1, data)
    return "done"

def huge():
    print("z" * 1000000)

def background():
    def later():
        import time
        time.sleep(0.2)
        print("after the answer")
    threading.Thread(target=later).start()
"""


async def test_print_becomes_a_record_a_line_with_the_request_id() -> None:
    async with hosting(CODE) as bench:
        await bench.call("prints")
        assert bench.messages("id-prints") == ["a line", "no end", "to stderr", "halfbytes"]
        first = bench.lines[0]
        assert (first["level"], first["stream"], first["operation"]) == ("info", "stdout", "app.prints")
        assert first["sha"] == "0123456789abcdef"
        assert abs(first["time"] - time.time()) < 60
        assert bench.lines[2]["level"] == "warning"


async def test_logging_and_warnings_become_records() -> None:
    async with hosting(CODE) as bench:
        await bench.call("logs")
        lines = [line for line in bench.lines if line.get("request-id") == "id-logs"]
        assert [line["message"] for line in lines[:3]] == ["info 1", "warned", "failed"]
        assert lines[0]["logger"] == "my.module"
        assert lines[0]["extra"] == {"pet": 7}
        assert "ZeroDivisionError" in lines[2]["exception"]
        assert "UserWarning: careful" in lines[3]["message"]
        await bench.until(lambda: any("Logging error" in message for message in bench.messages()))


async def test_threads_pools_and_tasks_of_a_call_carry_its_request_id() -> None:
    async with hosting(CODE) as bench:
        for name, messages in (
            ("in_thread", ["from a thread"]),
            ("in_pool", ["from a pool"]),
            ("in_task", ["from a task", "from to_thread"]),
        ):
            await bench.call(name)
            assert sorted(bench.messages(f"id-{name}")) == messages


async def test_a_pools_thread_carries_the_id_of_each_of_its_tasks() -> None:
    async with hosting(CODE) as bench:
        for number in range(3):
            await bench.call("in_pool", context={"request-id": f"r{number}"})
        assert [line["request-id"] for line in bench.lines] == ["r0", "r1", "r2"]


async def test_uncaught_traces_of_threads_and_tasks_are_logged() -> None:
    async with hosting(CODE) as bench:
        await bench.call("thread_dies")
        line = bench.lines[-1]
        assert line["message"] == "uncaught ValueError in thread worker-7"
        assert (line["request-id"], line["level"]) == ("id-thread_dies", "error")
        assert "thread died" in line["exception"]
        await bench.call("task_dies")
        await bench.until(lambda: any("task died" in line.get("exception", "") for line in bench.lines))


async def test_what_is_written_past_python_is_logged_too() -> None:
    async with hosting(CODE) as bench:
        await bench.call("raw")
        await bench.until(lambda: {"raw stdout", "from a child"} <= set(bench.messages()))
        streams = {line["message"]: line["stream"] for line in bench.lines}
        assert (streams["raw stdout"], streams["from a child"]) == ("stdout", "stderr")


async def test_a_fork_does_not_disturb_the_hosts_socket() -> None:
    async with hosting(CODE) as bench:
        assert bytes((await bench.call("forks")).body) == b"0\n"
        await bench.until(lambda: "from a fork" in bench.messages())
        await bench.call("prints")


async def test_lines_after_the_answer_still_carry_the_request_id() -> None:
    async with hosting(CODE) as bench:
        await bench.call("background")
        await bench.until(lambda: "after the answer" in bench.messages("id-background"))


async def test_a_flood_of_lines_is_cut_counted_and_does_not_block_calls() -> None:
    async with hosting(CODE) as bench:
        began = time.monotonic()
        answer = await bench.call("floods", {"lines": 20_000})
        assert bytes(answer.body) == b'"done"\n'
        assert time.monotonic() - began < 10
        assert len(bench.lines) < 10_000
        await bench.host.stop(5)
        said = [message for message in bench.messages() if "were dropped" in message]
        assert said
        dropped = sum(int(message.split()[0]) for message in said)
        shown = sum(message.startswith("xxx") for message in bench.messages())
        assert dropped + shown == 20_000


async def test_a_flood_past_python_is_slowed_down_and_counted() -> None:
    async with hosting(CODE) as bench:
        flood = bench.send("floods_raw", {"count": 4000})
        assert bytes((await bench.call("forks")).body) == b"0\n"
        assert (await asyncio.wait_for(flood, 20)) is not None
        await bench.until(lambda: any("were dropped" in message for message in bench.messages()))
        assert len(bench.lines) < 3500


async def test_a_line_of_a_megabyte_is_cut() -> None:
    async with hosting(CODE) as bench:
        await bench.call("huge")
        assert len(bench.messages("id-huge")[0]) < 70_000
        assert "characters cut" in bench.messages("id-huge")[0]
