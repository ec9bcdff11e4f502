"""How long a Func host takes from nothing to its first answer: bundle still packed, and unpacked already."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.figures import Figure, at_most, median
from benchmarks.lab import Lab
from benchmarks.processes import BenchError
from benchmarks.subjects.funcatron import bundle
from funcatron import hosts

CALL_SECONDS = 10.0
OPERATION = {
    "id": "bench.greet",
    "method": "GET",
    "path": "/greet",
    "produces": ["application/json"],
    "timeout": CALL_SECONDS,
}


def start(lab: Lab) -> list[Figure]:
    """Start hosts with the Runner's own means, outside of any load."""
    folder = lab.folder / "start"
    folder.mkdir(exist_ok=True)
    file = bundle(folder)
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    cold, warm = [], []
    run(first_answer(file, sha, folder / "first"))  # also puts the host program there, once for all bundles
    for number in range(lab.plan.starts):
        home = folder / f"home-{number}"
        cold.append(run(first_answer(file, sha, home)))
        warm.append(run(first_answer(file, sha, home)))
    return [
        Figure("host start to first answer/cold", median(cold), "s", at_most(1.0), "bundle still packed"),
        Figure("host start to first answer/unpacked", median(warm), "s", at_most(0.15), "as every start but the first"),
    ]


def run(work: Coroutine[Any, Any, float]) -> float:
    """Run it on the kind of loop that the Runner has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def first_answer(file: Path, sha: str, home: Path) -> float:
    """Seconds until a new host has answered one call; what is in `home` is not unpacked again."""
    driver = hosts.driver("python")
    load: dict[str, Any] = {
        "sha": sha,
        "operations": [OPERATION],
        "checkers": [],
        "props": {},
        "settings": {"concurrency": 1},
    }
    began = time.perf_counter()
    prepared = await driver.prepare(file, home)
    load["bundle"] = str(prepared.folder)
    host = await hosts.Host.start(driver, prepared, load, on_log=lambda _: None, on_exit=lambda _, __: None)
    try:
        answer = await asyncio.wait_for(ask(host), CALL_SECONDS)
        seconds = time.perf_counter() - began
    finally:
        await host.stop(CALL_SECONDS)
    if answer is None or answer.status != 200:
        raise BenchError(f"the new host answered with {answer}")
    return seconds


def ask(host: hosts.Host) -> asyncio.Future[hosts.Answer | None]:
    """One call of `greet`."""
    answered: asyncio.Future[hosts.Answer | None] = asyncio.get_running_loop().create_future()
    context = {"request-id": "bench", "deadline": int((time.time() + CALL_SECONDS) * 1000), "method": "GET"}
    header: dict[str, Any] = {
        "operation": "bench.greet",
        "params": {"name": "Ada", "times": 2},
        "body-kind": "none",
        "body-name": "body",
        "context": {
            **context,
            "path": "/bench/greet",
            "route": "/greet",
            "headers": {},
            "query": "",
            "path-params": {},
        },
    }
    host.call(header, b"", answered.set_result)
    return answered
