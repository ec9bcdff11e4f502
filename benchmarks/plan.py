"""How long a run measures what: the default, which fits in six minutes, and the quick one."""

from __future__ import annotations

from dataclasses import dataclass, replace

CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds and their lengths in seconds, sizes of the large measures, and the end of all patience."""

    rounds: int = 5
    seconds: float = 3.0
    latency_rounds: int = 3
    latency_seconds: float = 2.0
    tail_rounds: int = 3
    tail_seconds: float = 3.0
    body_rounds: int = 3
    body_seconds: float = 2.0
    funcs: int = 1000
    waiting: int = 10_000
    starts: int = 5
    limit: float = 345.0  # then 15 s are left to stop everything
    leave_out: tuple[str, ...] = ()

    def with_seconds(self, seconds: float) -> Plan:
        """The same with other rounds of load: every one lasts so long."""
        return replace(
            self, seconds=seconds, latency_seconds=seconds, tail_seconds=seconds, body_seconds=seconds, limit=3600.0
        )


DEFAULT = Plan()
QUICK = Plan(
    rounds=2,
    seconds=1.0,
    latency_rounds=1,
    latency_seconds=1.0,
    tail_rounds=1,
    tail_seconds=2.0,
    body_rounds=1,
    body_seconds=1.0,
    waiting=1000,
    starts=1,
    limit=80.0,
    leave_out=("thousand",),  # it needs a second stack
)
