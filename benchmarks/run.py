"""`python -m benchmarks.run`: measure Funcatron beside its yardsticks, print the table, write var/bench.json."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.figures import Figure, as_json, table, write
from benchmarks.lab import Lab
from benchmarks.machine import machine
from benchmarks.measures import MEASURES
from benchmarks.plan import DEFAULT, QUICK, Plan
from benchmarks.processes import BenchError
from funcatron.errors import FuncatronError

ROOT = Path(__file__).parents[1]


class OutOfTimeError(BenchError):
    """The run took longer than its plan allows."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter rounds: at most 90 s, rough figures")
    parser.add_argument("--only", metavar="NAME", action="append", choices=[*MEASURES], help=", ".join(MEASURES))
    parser.add_argument("--seconds", type=float, help="length of each round of load (wrk takes whole seconds)")
    parser.add_argument("--json", action="store_true", help="print what is written to the file instead of the table")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "bench.json", help="default: var/bench.json")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options ask for."""
    plan = QUICK if options.quick else DEFAULT
    return plan.with_seconds(options.seconds) if options.seconds else plan


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise in the block when it takes longer, and on SIGTERM, so that what was started is stopped on the way out."""

    def over(_: int, __: FrameType | None) -> None:
        raise OutOfTimeError(f"the run took more than {seconds:.0f} s: the machine is too busy for a bench")

    def ended(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, over), signal.signal(signal.SIGTERM, ended)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])


def measure(plan: Plan, names: list[str], figures: list[Figure], facts: dict[str, Any]) -> None:
    """Run the measures one after the other, adding to `figures` and `facts`. Ends all that it started."""
    folder = Path(tempfile.mkdtemp(prefix="funcatron-bench-"))
    try:
        with Lab(plan, folder, ROOT / "var" / "bench") as lab, bounded(plan.limit):
            for name in names:
                began = time.monotonic()
                figures += MEASURES[name](lab)
                lab.say(f"{name}: {time.monotonic() - began:.0f} s")
            facts["versions"] |= lab.versions()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when every goal that was measured is met, 1 when one is not, 2 when the run failed."""
    options = arguments(argv)
    facts = machine()
    figures: list[Figure] = []
    failure = ""
    began = time.monotonic()
    try:
        plan = plan_of(options)
        names = options.only or [name for name in MEASURES if name not in plan.leave_out]
        measure(plan, names, figures, facts)
    except (BenchError, FuncatronError) as err:
        failure = str(err)
    except KeyboardInterrupt:
        failure = "interrupted"
    facts["seconds"] = round(time.monotonic() - began)
    if figures:
        write(options.output, as_json(figures, facts))
        print(as_json(figures, facts) if options.json else table(figures))
    if failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
