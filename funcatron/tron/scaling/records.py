"""Decisions as they are stored: with all that they depend on, so that they can be decided again."""

from __future__ import annotations

import json
from typing import Any

from funcatron.errors import BadMessage, NotFound
from funcatron.tron.scaling.decision import Decision, decide, total_cores
from funcatron.tron.scaling.jsonform import from_json, to_json
from funcatron.tron.scaling.memory import Memory
from funcatron.tron.scaling.snapshot import Snapshot, Totals


def record(snapshot: Snapshot, memory: Memory, decision: Decision) -> str:
    """Return a decision, with the snapshot and the memory it was made from, as JSON text."""
    content = {"snapshot": to_json(snapshot), "memory": to_json(memory), "decision": to_json(decision)}
    content["why"] = {queue: func.why for queue, func in decision.funcs.items()}
    return json.dumps(content, ensure_ascii=False)


def replay(text: str) -> Decision:
    """Decide again from a record, and return the decision. Raises BadMessage for what is no record."""
    try:
        content: Any = json.loads(text)
        snapshot, memory = content["snapshot"], content["memory"]
    except (ValueError, KeyError, TypeError) as err:
        raise BadMessage(f"this is no record of a decision: {err!r}") from err
    return decide(from_json(Snapshot, snapshot), from_json(Memory, memory))[0]


def narrowed(snapshot: Snapshot, memory: Memory, decision: Decision, queue: str) -> tuple[Snapshot, Memory, Decision]:
    """Return what concerns one Func, for a record of a kilobyte instead of all Funcs'; without Runners and placement.

    Its number of instances, the need and the sentence of the formula are those of the whole. What others took from a
    capped total stands in `max_instances`. Raises NotFound for a queue that the decision does not know.
    """
    func = decision.funcs.get(queue)
    if func is None:
        raise NotFound(f"the decision knows no queue {queue}")
    capped = func.instances if func.instances < func.need.wanted else None
    totals = Totals(max_instances=capped, cores=total_cores(snapshot), host_bytes=snapshot.totals.host_bytes)
    alone = Snapshot(snapshot.at, (func.inputs,), totals=totals, period=snapshot.period)
    left = memory.funcs.get(queue)
    before = Memory({queue: left} if left is not None else {})
    return alone, before, decide(alone, before)[0]
