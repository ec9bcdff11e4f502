"""What a run ran on: without it its figures say nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PROGRAMS = {
    "nginx": ["/usr/sbin/nginx", "-v"],
    "wrk": ["wrk", "-v"],
    "rabbitmq": ["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"],
    "erlang": ["dpkg-query", "-W", "-f", "${Version}", "erlang-base"],
}


def machine() -> dict[str, Any]:
    """Cores, memory, kernel, versions, the load before the run and the commit that is measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _first_line(argv) for name, argv in _PROGRAMS.items()},
        "commit": _first_line(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "not installed"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].removeprefix("nginx version: ") if lines else "unknown"
