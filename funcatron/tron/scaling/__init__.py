"""The scaling policy: values in, values out. No clock, no I/O, no log; the Tron measures, decides by this, and acts.

    decision, memory = decide(snapshot, memory)

`Snapshot` is what is known at one moment, `Memory` what earlier decisions left behind, `Decision` how many instances
each Func gets, on which Runners, and how many Runners and Trons should run; each with a sentence that says why.
"""

from funcatron.tron.scaling.decision import Decision, FuncDecision, decide
from funcatron.tron.scaling.instances import Need, Reason
from funcatron.tron.scaling.jsonform import from_json, to_json
from funcatron.tron.scaling.memory import FuncMemory, Memory
from funcatron.tron.scaling.placement import Placement
from funcatron.tron.scaling.records import narrowed, record, replay
from funcatron.tron.scaling.runners import RunnersDecision, TronsDecision
from funcatron.tron.scaling.snapshot import (
    Basis,
    Firehose,
    FuncPolicy,
    FuncSnapshot,
    RunnerSnapshot,
    ServiceTime,
    Snapshot,
    Totals,
)

__all__ = [
    "Basis",
    "Decision",
    "Firehose",
    "FuncDecision",
    "FuncMemory",
    "FuncPolicy",
    "FuncSnapshot",
    "Memory",
    "Need",
    "Placement",
    "Reason",
    "RunnerSnapshot",
    "RunnersDecision",
    "ServiceTime",
    "Snapshot",
    "Totals",
    "TronsDecision",
    "decide",
    "from_json",
    "narrowed",
    "record",
    "replay",
    "to_json",
]
