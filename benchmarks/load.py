"""Closed-loop load by wrk: how many requests a second a subject answers, and how fast."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchError

_SCRIPTS = Path(__file__).parent / "wrk"
_MARK = "bench-summary "


@dataclass(frozen=True, slots=True)
class Load:
    """What one wrk run saw. Latencies in seconds."""

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds


def parse(output: str) -> Load:
    """Read the line that wrk/report.lua prints; raises BenchError when it is not there."""
    for line in output.splitlines():
        if line.startswith(_MARK):
            summary = json.loads(line.removeprefix(_MARK))
            return Load(
                requests=summary["requests"],
                seconds=summary["duration_us"] / 1e6,
                failed=summary["failed"],
                p50=summary["p50_us"] / 1e6,
                p99=summary["p99_us"] / 1e6,
            )
    raise BenchError(f"wrk printed no summary:\n{output}")


def wrk(url: str, connections: int, seconds: float, script: str = "report.lua") -> Load:
    """Load a URL from one wrk thread with so many connections; raises BenchError on any failed request.

    `script` is one of wrk/: it may set method and body once; none of them runs per request.
    """
    binary = shutil.which("wrk")
    if binary is None:
        raise BenchError("wrk is not installed: apt-get install wrk")
    # wrk takes whole seconds only
    argv = [binary, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPTS / script), url]
    # report.lua is found by its name from the other scripts
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30, cwd=_SCRIPTS, check=False)
    if done.returncode != 0:
        raise BenchError(f"wrk ended with {done.returncode}: {done.stderr or done.stdout}")
    load = parse(done.stdout)
    if load.failed or not load.requests:
        raise BenchError(f"{load.failed} requests of {load.requests} failed at {url}:\n{done.stdout}")
    return load
