"""What a Runner with real hosts tells is what a Tron makes a picture of."""

from __future__ import annotations

import asyncio

import pytest

from funcatron.brokers.base import Outgoing
from funcatron.message import control, encode
from funcatron.message.topology import runner_queue
from funcatron.tron.statistics import FuncFigures, Statistics
from tests.unit.runner.test_runner import QUEUE, Stage, data, stage, store

__all__ = ["data", "stage", "store"]  # fixtures


def introduce(stage: Stage) -> None:
    """Say that there is a Tron that takes figures."""
    stage.client.publish(Outgoing(encode(control.tron_info("tron", ("127.0.0.1", 1))), runner_queue("r1")))


def merged(stage: Stage) -> Statistics:
    """What the messages that were heard so far come to, for a Tron that was there before the Runner."""
    now = 0.0
    statistics = Statistics(clock=lambda: now)
    now = 1000.0
    for message in stage.heard:
        if message["action"] == "stats":
            assert statistics.take(message), "nothing is missing"
    return statistics


async def test_the_picture_of_a_func_with_real_hosts(stage: Stage) -> None:
    introduce(stage)
    await stage.enable()
    await asyncio.gather(*(stage.ask("/trial/wait?seconds=0.3") for _ in range(3)))
    await stage.ask("/trial/fail")
    await stage.ask("/trial/nowhere")

    def whole() -> FuncFigures | None:
        func = merged(stage).picture().funcs.get(QUEUE)
        return func if func is not None and func.service is not None and func.service.count == 4 else None

    func = await stage.until(whole)
    assert (func.name, func.sha) == ("trial", stage.shas["good"])
    assert (func.in_flight, func.unaccounted, func.running, func.slots) == (0, 0, 1, 4)
    assert func.errors == {"failed": 1, "status-404": 1}
    assert func.service.p95 == pytest.approx(0.3, abs=0.2)
    assert func.service.mean == pytest.approx(0.9 / 4, abs=0.15)
    assert 0 <= func.wait.mean < 5
    assert func.start_up > 0.01
    assert func.rss > 1_000_000
    assert func.cpu_per_call > 0


async def test_a_host_that_is_killed_is_seen_with_what_it_was_doing(stage: Stage) -> None:
    introduce(stage)
    await stage.enable()
    await stage.ask("/trial/die", "POST")
    await stage.ask("/trial/greet?name=Ada")

    def again() -> FuncFigures | None:
        func = merged(stage).picture().funcs.get(QUEUE)
        return func if func is not None and func.errors and func.service.count == 2 and func.running == 1 else None

    func = await stage.until(again)
    assert func.errors == {"host-died": 1}
    assert func.unaccounted == 0
    assert merged(stage).totals()[QUEUE].counters["starts"] == 2


async def test_the_last_figures_come_before_the_end(stage: Stage) -> None:
    introduce(stage)
    await stage.enable()
    await stage.ask("/trial/greet?name=Ada")
    stage.runner.stop()
    await stage.life
    await stage.runner.shutdown(grace=2.0)
    await stage.until(lambda: stage.heard[-1]["action"] == "died")
    figures = merged(stage)
    assert figures.totals()[QUEUE].counters["arrivals"] == 1
    assert figures.picture().funcs[QUEUE].running == 0
