"""Lines of pipes become records; a flood is counted, not kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from funcatron.hosts import pipes
from funcatron.hosts.pipes import Lines


class Pipe:
    """A pipe whose reading end is watched."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.records: list[dict[str, Any]] = []
        self.come = asyncio.Event()
        self.lines = Lines(asyncio.get_running_loop(), self.reading, "stderr", self._on_log)

    def _on_log(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        self.come.set()

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not seen():
                self.come.clear()
                await self.come.wait()

    def messages(self) -> list[str]:
        return [record["message"] for record in self.records]

    def close(self) -> None:
        self.lines.close()
        os.close(self.reading)


async def test_each_line_becomes_a_record_wherever_the_writes_are_cut() -> None:
    pipe = Pipe()
    os.write(pipe.writing, b"one\ntw")
    await pipe.until(lambda: pipe.messages() == ["one"])
    os.write(pipe.writing, b"o\r\n\n\xff\nrest")
    os.close(pipe.writing)
    await pipe.until(lambda: len(pipe.records) == 4)
    assert pipe.messages() == ["one", "two", "\ufffd", "rest"]
    assert pipe.records[0]["level"] == "warning"
    assert pipe.records[0]["stream"] == "stderr"
    assert pipe.lines.closed
    pipe.close()


async def test_a_line_without_an_end_is_cut_at_the_limit() -> None:
    pipe = Pipe()
    data = b"x" * (pipes.MAX_LINE + 10)
    await asyncio.to_thread(os.write, pipe.writing, data)
    os.close(pipe.writing)
    await pipe.until(lambda: len(pipe.records) == 2)
    assert [len(message) for message in pipe.messages()] == [pipes.MAX_LINE, 10]
    pipe.close()


async def test_a_flood_is_counted_and_memory_stays_flat() -> None:
    pipe = Pipe()
    total = 3 * pipes.RATE

    def flood() -> None:
        left = total
        while left:
            left -= os.write(pipe.writing, b"y" * 1023 + b"\n")
        os.close(pipe.writing)

    await asyncio.to_thread(flood)
    await pipe.until(lambda: any("were dropped" in message for message in pipe.messages()))
    kept = sum(len(message) + 1 for message in pipe.messages() if message.startswith("y"))
    assert kept <= 2 * pipes.RATE + pipes.MAX_LINE
    pipe.close()
    dropped = sum(int(message.split()[0]) for message in pipe.messages() if "were dropped" in message)
    kept = sum(len(message) + 1 for message in pipe.messages() if message.startswith("y"))
    assert abs(kept + dropped - total) <= len(pipe.records)
