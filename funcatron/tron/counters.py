"""What this Tron has counted since it started."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """Messages by what became of them. They only grow; who wants a rate takes differences."""

    dispatched: int = 0
    unrouted: int = 0
    expired: int = 0
    undecodable: int = 0
    dead_lettered: int = 0
    restored_queues: int = 0
    control: int = 0

    def as_json(self) -> dict[str, int]:
        """Return them with the names that the API shows."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items()}
