"""Scaling decisions as the Registry keeps them: those that say something new, each with all that it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from funcatron.stores.scaling import Decision as Entry
from funcatron.tron.scaling import (
    Decision,
    FuncDecision,
    FuncMemory,
    FuncSnapshot,
    Memory,
    Snapshot,
    Totals,
    decide,
    from_json,
    narrowed,
    to_json,
)
from funcatron.tron.traits import Traits

RUNNERS, TRONS = ":runners", ":trons"
"""The names of decisions that are about no Func; no deployment can have them."""


class Journal:
    """Knows what was written last."""

    def __init__(self) -> None:
        self._last: dict[str, int | None] = {}

    def news(
        self, snapshot: Snapshot, memory: Memory, decision: Decision, traits: Iterable[Traits], now: float
    ) -> list[Entry]:
        """Return the entries of a round: of each Func that gets another number of instances than before, and of other
        numbers of Runners and Trons. memory: that the decision was made with. now: s since 1970."""
        found = [
            entry(snapshot, memory, decision, one, now)
            for one in traits
            if one.queue in decision.funcs and self._new(one.queue, decision.funcs[one.queue])
        ]
        found += self._processes(snapshot, decision, now)
        return found

    def _new(self, queue: str, func: FuncDecision) -> bool:
        before = self._last.get(queue, func.inputs.instances)
        self._last[queue] = func.instances
        return func.instances != before

    def _processes(self, snapshot: Snapshot, decision: Decision, now: float) -> Iterator[Entry]:
        totals, firehose = snapshot.totals, snapshot.firehose
        runners, trons = decision.runners, decision.trons
        for name, count, there, why, inputs in (
            (RUNNERS, runners.count, totals.runners, runners.why, {"totals": to_json(totals)}),
            (TRONS, trons.count, firehose.trons, trons.why, {"firehose": to_json(firehose)}),
        ):
            before = self._last.get(name, there)
            self._last[name] = count
            if count is not None and count != before:
                outputs = {"count": count} | ({"drain": runners.drain} if name == RUNNERS and runners.drain else {})
                yield Entry(now, name, "", inputs, outputs, why)


def entry(snapshot: Snapshot, memory: Memory, decision: Decision, traits: Traits, now: float) -> Entry:
    """Return what is kept of the decision about one Func."""
    queue = traits.queue
    func = decision.funcs[queue]
    alone, before, _ = narrowed(snapshot, memory, decision, queue)
    known: dict[str, Any] = {
        "func": to_json(func.inputs),
        "at": alone.at,
        "period": alone.period,
        "cores": alone.totals.cores,
        "cap": alone.totals.max_instances,
        "host-bytes": alone.totals.host_bytes,
        "memory": to_json(before.funcs[queue]) if queue in before.funcs else None,
    }
    outputs: dict[str, Any] = {
        "instances": func.instances,
        "wanted": func.need.wanted,
        "reason": str(func.need.reason),
        "placed": func.placed,
        "runners": {runner: hosts[queue] for runner, hosts in decision.placement.hosts.items() if queue in hosts},
        "waker": func.waker,
    }
    return Entry(
        now,
        traits.name,
        traits.sha,
        _without_none(known),
        {name: value for name, value in outputs.items() if value is not None},
        func.why,
    )


def replayed(kept: Entry) -> FuncDecision:
    """Decide again from what was kept of a decision about one Func. Raises BadMessage for what is none."""
    inputs = kept.inputs
    func = from_json(FuncSnapshot, inputs["func"])
    totals = Totals(max_instances=inputs.get("cap"), cores=inputs.get("cores"), host_bytes=inputs["host-bytes"])
    memory = {func.queue: from_json(FuncMemory, inputs["memory"])} if "memory" in inputs else {}
    again, _ = decide(Snapshot(inputs["at"], (func,), totals=totals, period=inputs["period"]), Memory(memory))
    return again.funcs[func.queue]


def _without_none(value: Any) -> Any:
    """Return a JSON value without what is null: a field that is missing has its default, which is the same."""
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
