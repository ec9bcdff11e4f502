"""One decision: how many instances each Func gets, where they run, and how many Runners and Trons there should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from funcatron.tron.scaling.fairness import TURN, Cap, Claim, fair_shares
from funcatron.tron.scaling.instances import Need, Reason, need
from funcatron.tron.scaling.memory import FuncMemory, Memory
from funcatron.tron.scaling.placement import Asked, Placement, place
from funcatron.tron.scaling.runners import RunnersDecision, TronsDecision, runners_wanted, trons_wanted
from funcatron.tron.scaling.sentences import why
from funcatron.tron.scaling.snapshot import FuncSnapshot, RunnerSnapshot, Snapshot, Totals


@dataclass(frozen=True, slots=True)
class FuncDecision:
    """What one Func gets. `need` is before the cap on the total, `instances` after it, `placed` what found room."""

    inputs: FuncSnapshot
    need: Need
    instances: int
    placed: int | None = None  # None: there is no Runner to place it on
    waker: str | None = None  # the Runner that takes its first message, if it has no instance

    @property
    def why(self) -> str:
        """One sentence: the figures, the formula, and what else counted."""
        return why(self.inputs, self.need, self.instances, self.placed)

    @property
    def changed(self) -> bool:
        """Whether other than the wanted number of instances is there or on its way."""
        return self.instances != self.inputs.instances


@dataclass(frozen=True, slots=True)
class Decision:
    """What should run, and why."""

    at: float
    funcs: Mapping[str, FuncDecision] = field(default_factory=dict)  # by queue
    placement: Placement = field(default_factory=Placement)
    runners: RunnersDecision = field(default_factory=lambda: RunnersDecision(None, None, ""))
    trons: TronsDecision = field(default_factory=lambda: TronsDecision(None, ""))


def decide(snapshot: Snapshot, memory: Memory) -> tuple[Decision, Memory]:
    """Return the decision for a snapshot, and the memory to pass to the next one. Pure: same in, same out."""
    taking = [runner for runner in snapshot.runners if runner.takes_hosts()]
    cores = total_cores(snapshot)
    needs: dict[str, Need] = {}
    after: dict[str, FuncMemory] = {}
    for func in snapshot.funcs:
        found, left = need(func, memory.funcs.get(func.queue), snapshot.at, snapshot.period, cores)
        needs[func.queue], after[func.queue] = found, left
    sizes = {func.queue: func.rss or snapshot.totals.host_bytes for func in snapshot.funcs}
    claims = [_claim(func, needs[func.queue].wanted, after[func.queue], sizes, snapshot.at) for func in snapshot.funcs]
    shares = fair_shares(claims, _cap(snapshot.totals, taking, sizes), snapshot.at)
    for claim in claims:
        after[claim.queue] = _turned(after[claim.queue], claim, shares[claim.queue])
    asked = [_asked(func, needs[func.queue], shares[func.queue], sizes) for func in snapshot.funcs]
    placement = place(asked, snapshot.runners, memory.wakers)
    wanted = [_asked(func, needs[func.queue], needs[func.queue].wanted, sizes) for func in snapshot.funcs]
    runners, runner_window = runners_wanted(
        wanted, placement, snapshot.runners, snapshot.totals, memory.runners, snapshot.at
    )
    trons, tron_window = trons_wanted(snapshot.firehose, snapshot.totals, memory.trons, snapshot.at)
    funcs = {f.queue: _told(f, needs[f.queue], shares[f.queue], placement, bool(taking)) for f in snapshot.funcs}
    decision = Decision(snapshot.at, funcs, placement, runners, trons)
    return decision, Memory(after, placement.wakers, runner_window, tron_window)


def total_cores(snapshot: Snapshot) -> float | None:
    """Return the cores that hosts may use; None if unknown."""
    if snapshot.totals.cores is not None:
        return snapshot.totals.cores
    figures = [runner.cores_total for runner in snapshot.runners if runner.takes_hosts()]
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known and len(known) == len(figures) else None


def _claim(func: FuncSnapshot, wanted: int, memory: FuncMemory, sizes: Mapping[str, int], at: float) -> Claim:
    turn = at if memory.turn is None else memory.turn
    return Claim(
        func.queue,
        wanted,
        func.policy.min,
        func.policy.weight,
        sizes[func.queue],
        func.has_work,
        memory.holds,
        turn,
        TURN + (func.start_up or 0.0),
    )


def _turned(memory: FuncMemory, claim: Claim, share: int) -> FuncMemory:
    """Return the memory with since when the Func has, or lacks, an instance; None for one that lacks nothing."""
    holds = share > 0
    turn: float | None = claim.turn if holds == memory.holds else memory.at
    if not holds and not claim.work:
        turn = None
    if holds == memory.holds and turn == memory.turn:
        return memory
    return replace(memory, holds=holds, turn=turn)


def _cap(totals: Totals, taking: list[RunnerSnapshot], sizes: Mapping[str, int]) -> Cap:
    """Return what there is to share: the bound on instances, and the memory of the Runners that take hosts."""
    if not taking or any(runner.memory_free is None for runner in taking):
        return Cap(totals.max_instances)
    hosts = sum(count * sizes.get(queue, 0) for runner in taking for queue, count in runner.hosts.items())
    free = sum((runner.memory_free or 0) + runner.leaving_bytes for runner in taking)
    return Cap(totals.max_instances, hosts + free)


def _asked(func: FuncSnapshot, found: Need, count: int, sizes: Mapping[str, int]) -> Asked:
    cores: float | None = None
    if found.rate == 0 or not count:
        cores = 0.0
    elif func.cpu_per_call is not None and found.rate is not None:
        cores = found.rate * func.cpu_per_call / count
    asleep = found.wanted == 0 and found.reason is not Reason.MAX
    return Asked(func.queue, count, sizes[func.queue], cores, func.has_work, asleep)


def _told(func: FuncSnapshot, found: Need, share: int, placement: Placement, runners: bool) -> FuncDecision:
    placed = share - placement.unplaced.get(func.queue, 0) if runners else None
    return FuncDecision(func, found, share, placed, placement.wakers.get(func.queue))
