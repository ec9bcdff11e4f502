"""How a Func fares, as its Runner tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funcatron.runner.func import Func


def condition(func: Func) -> str:
    """Return its state as the Tron knows it: serving, draining, crashing or retired."""
    if func.pool is not None and func.pool.state() == "crashing":
        return "crashing"
    return "serving" if func.state in ("asleep", "waking", "awake") else func.state


def trouble(func: Func) -> str | None:
    """Say why its hosts die again and again, or why it cannot be loaded; None: neither is so."""
    if func.pool is None:
        return f"it cannot be loaded: {func.failures.last}" if func.failures.fruitless else None
    return func.pool.crashes.last if func.pool.state() == "crashing" else None


def report(func: Func) -> dict[str, Any]:
    """Return what stands in a `heartbeat` of it."""
    deployment, pool = func.deployment, func.pool
    facts: dict[str, Any] = {"sha": deployment.sha, "queue": deployment.queue, "state": condition(func)}
    reason = trouble(func)
    if reason is not None:
        facts["reason"] = reason
    if pool is not None:
        facts["in-flight"] = func.in_flight()
        facts["slots"] = func.prefetch
        facts["deaths"] = pool.crashes.total
        facts["hosts"] = [{"pid": one.pid, "rss-bytes": one.rss(), "cpu-seconds": one.cpu()} for one in func.hosts()]
    if func.stats.received:
        facts["stats"] = func.stats.report()
    return facts
