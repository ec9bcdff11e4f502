"""What a Runner tells the Tron of one Func: totals, and what of it has changed since it told the last time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from funcatron.hosts import Host
from funcatron.runner.condition import condition, trouble

if TYPE_CHECKING:
    from funcatron.runner.func import Func


OLD = 1.0  # ages of messages that are less say nothing, s


class Usage:
    """CPU seconds and memory of a Func's hosts; what hosts used that have ended is kept (up to the last look)."""

    __slots__ = ("_ended", "_running")

    def __init__(self) -> None:
        self._ended = 0.0
        self._running: dict[int, float] = {}  # by process id

    def look(self, hosts: Iterable[Host]) -> dict[str, Any]:
        """Read both, and return them as a `stats` message has them. Two small files of /proc a host."""
        seen: dict[int, float] = {}
        rss = 0
        for host in hosts:
            seen[host.pid] = max(host.cpu(), self._running.get(host.pid, 0.0))  # 0.0 is said of one that is gone
            rss += host.rss()
        self._ended += sum(cpu for pid, cpu in self._running.items() if pid not in seen)
        self._running = seen
        cpu = self._ended + sum(seen.values())
        return {"cpu-seconds": round(cpu, 3), "rss-bytes": rss} if cpu or rss else {}


class Account:
    """The entries of one Func in a Runner's `stats` messages. `life` is the number of its counters."""

    __slots__ = ("_facts", "_usage", "_used", "func", "life")

    def __init__(self, func: Func, life: int) -> None:
        self.func, self.life = func, life
        self._facts: dict[str, Any] | None = None  # as told last
        self._usage = Usage()
        self._used: dict[str, Any] = {}

    def entry(self, now: float, *, full: bool, look: bool) -> dict[str, Any] | None:
        """Return what is to be told now (`now` by the monotonic clock, s), or None: nothing has changed.

        Figures of the hosts' processes are read when anything else has changed, or with `look`.
        """
        func = self.func
        if self._asleep(full):
            return None
        facts = self._gather()
        changed = full or facts != self._facts
        if not changed and not look:
            return None
        used = self._usage.look(func.hosts())
        if not changed and used == self._used:
            return None
        self._facts, self._used = facts, used
        stats = func.stats
        age = round(now - stats.began, 3)
        spreads = {"wait": stats.wait.tell(full=full), "service": stats.service.tell(full=full)}
        told = {name: spread for name, spread in spreads.items() if spread is not None}
        return {"life": self.life, "age": max(0.0, age), **facts, **used, **told}

    @property
    def told(self) -> bool:
        """Whether there was an entry of it."""
        return self._facts is not None

    def _asleep(self, full: bool) -> bool:
        """Say whether there is certainly nothing to tell, at nearly no cost: of a Func that has done nothing yet, or
        whose every message is told already. A thousand Funcs are looked at each second."""
        func, facts = self.func, self._facts
        if func.pool is not None or func.in_flight():
            return False
        if facts is None:
            return not func.stats.received
        return (
            not full
            and facts["hosts"] == {}
            and not facts["in-flight"]
            and facts.get("arrivals", 0) == func.stats.received
            and facts["state"] == condition(func)
            and facts.get("reason") == trouble(func)
        )

    def _gather(self) -> dict[str, Any]:
        func = self.func
        deployment, pool = func.deployment, func.pool
        hosts = {"running": pool.size(), "starting": pool.starting()} if pool is not None else {}
        facts: dict[str, Any] = {
            "queue": deployment.queue,
            "sha": deployment.sha,
            "name": deployment.name or deployment.queue,
            "state": condition(func),
            "in-flight": func.in_flight(),
            "hosts": {name: count for name, count in hosts.items() if count},
            **func.stats.totals(),
            **func.starts.totals(),
        }
        reason = trouble(func)
        if reason is not None:
            facts["reason"] = reason
        places = {"waiting": func.waiting(), "at-hosts": len(pool.live()) if pool is not None else 0}
        facts |= {name: count for name, count in places.items() if count}
        if pool is not None:
            facts["slots"] = pool.slots
        oldest = {"oldest-wait": func.stats.oldest_wait(), "oldest-call": func.oldest_call()}
        return facts | {name: round(age, 1) for name, age in oldest.items() if age is not None and age >= OLD}
