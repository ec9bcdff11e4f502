"""Simulate all traces under all policies, print the tables, and write the figures of docs/scaling.md.

python -m benchmarks.scaling                   # everything, about a minute
python -m benchmarks.scaling --trace bursts    # one trace; prints only
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.scaling import plots, report, rounds
from benchmarks.scaling.policies import POLICIES
from benchmarks.scaling.runs import Run, run
from benchmarks.scaling.traces import Trace, all_traces, seeded

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
SEEDS = (1, 2, 3)


def simulate(traces: list[Trace], seeds: tuple[int, ...]) -> dict[str, dict[str, Run]]:
    """Return the results by trace and policy; every policy gets the same calls."""
    results: dict[str, dict[str, Run]] = {}
    for trace in traces:
        runs = results[trace.name] = {policy.name: Run() for policy in POLICIES}
        for seed in seeds:
            calls = seeded(trace, seed)
            for policy in POLICIES:
                runs[policy.name].add(run(trace, calls, policy, seed))
    return results


def write(traces: list[Trace], results: dict[str, dict[str, Run]], page: Path) -> None:
    """Write the pictures beside the page, and the tables into it."""
    pictures = {}
    shown = [policy for policy in POLICIES if not policy.variant]
    for trace in traces:
        picture = page.parent / "scaling" / f"{trace.name}.svg"
        plots.draw(trace, results[trace.name], shown, picture)
        pictures[trace.name] = f"scaling/{trace.name}.svg"
    times = rounds.milliseconds(placed=True), rounds.milliseconds(placed=False)
    report.insert(page, report.section(traces, results, POLICIES, len(SEEDS), pictures, times))


def main(argv: list[str] | None = None) -> int:
    """Return 0 when all goals are met, else 1."""
    known = {trace.name: trace for trace in all_traces()}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--trace", action="append", choices=list(known), help="only this one; may be repeated")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write the figures into")
    options = parser.parse_args(argv)
    traces = [known[name] for name in options.trace or known]
    began = time.monotonic()
    results = simulate(traces, SEEDS)
    print(report.sum_table(results, POLICIES))
    for what in ("missed", "p95", "instance_seconds", "starts"):
        print(f"\n{what}\n\n{report.trace_table(results, POLICIES, what)}")
    goals = report.goals(results, POLICIES)
    print("\n" + "\n".join(f"{'met    ' if met else 'NOT MET'} {text}" for met, text in goals))
    if options.trace is None:
        write(traces, results, options.page)
        print(f"\nwritten to {options.page} in {time.monotonic() - began:.0f} s")
    return 0 if all(met for met, _ in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
