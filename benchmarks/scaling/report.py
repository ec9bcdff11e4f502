"""The tables of a benchmark, the goals, and the page that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling.policies import Funcatron, Policy
from benchmarks.scaling.runs import Run
from benchmarks.scaling.traces import Trace

Results = Mapping[str, Mapping[str, Run]]  # by trace and policy
Policies = Sequence[type[Policy[Any]]]

BEGIN = "<!-- figures: written by `python -m benchmarks.scaling` -->"
END = "<!-- end of figures -->"


def totals(results: Results, policies: Policies) -> dict[str, Run]:
    """Return the sum of all traces, by policy."""
    found = {}
    for policy in policies:
        total = Run()
        for runs in results.values():
            total.add(runs[policy.name])
        found[policy.name] = total
    return found


def goals(results: Results, policies: Policies) -> list[tuple[bool, str]]:
    """Return each goal as whether it is met, and a sentence."""
    ours = Funcatron.name
    peers = [policy for policy in policies if not issubclass(policy, Funcatron)]
    found = []
    for name, runs in results.items():
        best = min(peers, key=lambda policy: (runs[policy.name].missed, policy.name))
        missed, least = runs[ours].missed, runs[best.name].missed
        found.append((missed <= least, f"{name}: {missed} deadlines missed, the best peer ({best.title}) {least}"))
    sums = totals(results, policies)
    for peer in peers:
        us, them = sums[ours], sums[peer.name]
        text = f"all traces: {us.instance_seconds:,.0f} instance-seconds, {peer.title} {them.instance_seconds:,.0f}"
        if us.instance_seconds >= them.instance_seconds:
            text += (
                f", which missed {share(them.missed, them.calls)} of all deadlines ({share(us.missed, us.calls)} here)"
            )
        found.append((us.instance_seconds < them.instance_seconds, text))
    return found


def share(part: float, whole: float) -> str:
    """Return a percentage as text."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text, the others figures."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def sum_table(results: Results, policies: Policies) -> str:
    """Return the table of all traces together."""
    header = ("policy", "deadlines missed", "", "instance-seconds", "of these frozen", "busy", "starts", "changes")
    sums = totals(results, policies)
    rows = []
    for policy in policies:
        total = sums[policy.name]
        rows.append(
            (
                f"**{policy.title}**" if policy is Funcatron else policy.title,
                f"{total.missed:,}",
                share(total.missed, total.calls),
                f"{total.instance_seconds:,.0f}",
                f"{total.frozen_seconds:,.0f}" if total.frozen_seconds else "–",
                share(total.work_seconds, total.instance_seconds),
                f"{total.starts:,}",
                f"{total.changes:,}",
            )
        )
    return table(header, rows)


def trace_table(results: Results, policies: Policies, what: str) -> str:
    """Return a table of one measure (`missed`, `p95`, `instance_seconds`, `starts`): policies by traces."""
    form = "{:,.2f}" if what == "p95" else "{:,.0f}"
    rows = []
    for policy in policies:
        title = f"**{policy.title}**" if policy is Funcatron else policy.title
        rows.append((title, *(form.format(getattr(runs[policy.name], what)) for runs in results.values())))
    return table(("policy", *results), rows)


def section(
    traces: Sequence[Trace],
    results: Results,
    policies: Policies,
    seeds: int,
    plots: Mapping[str, str],
    times: tuple[float, float],
) -> str:
    """Return the marked part of the page.

    plots: paths of the pictures by trace, as the page links to them. times: ms of a decision, in its stride and worst.
    """
    calls = sum(runs[Funcatron.name].calls for runs in results.values())
    verdicts = "\n".join(f"- {'met' if met else '**not met**'}: {text}" for met, text in goals(results, policies))
    parts = [
        f"{calls:,} calls in {len(traces)} traces of {traces[0].seconds / 60:.0f} min, with {seeds} seeds each.",
        "### All traces",
        sum_table(results, policies),
        "*busy*: the share of the instance-seconds in which a slot had a call.",
        "### Goals",
        verdicts,
        "### Deadlines missed",
        trace_table(results, policies, "missed"),
        "### Wait for a slot, 95th percentile, s",
        trace_table(results, policies, "p95"),
        "### Instance-seconds",
        trace_table(results, policies, "instance_seconds"),
        "### Starts of instances",
        trace_table(results, policies, "starts"),
        "### A decision",
        f"1,000 Funcs on 100 Runners: {times[0]:.0f} ms of CPU time, {times[1]:.0f} ms when everything is to be placed "
        "anew (pure Python, one core of the machine that made this page).",
        "### Traces",
        *(f"**{t.name}**: {t.title}.\n\n![{t.name}]({plots[t.name]})" for t in traces if t.name in plots),
    ]
    return "\n\n".join(parts)


def insert(page: Path, text: str) -> None:
    """Replace the marked part of a page. Raises ValueError when it has no marks."""
    content = page.read_text()
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no part between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
