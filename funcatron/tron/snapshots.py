"""From what is known to what the policy decides by: pure functions. What is not known stays None.

Runners on one machine share it: each stands for its part, so that nothing is counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from funcatron.settings import Settings
from funcatron.tron.scaling import Basis, Firehose, FuncSnapshot, RunnerSnapshot, ServiceTime, Snapshot, Totals
from funcatron.tron.scaling.snapshot import HOST_BYTES
from funcatron.tron.statistics import FuncFigures, Picture, RunnerFigures
from funcatron.tron.traits import Traits

ENOUGH = 20
"""Calls of the last seconds, from which their CPU time is taken for the calls' own."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a snapshot is made of.

    traits: of what shall be served, by queue. stand_ins: the queue whose figures stand in for those that another does
    not have yet: of the version before. machines: the machine of each Runner. expected: the instances that each Runner
    has or is about to have, by queue. sharing: how many Runners a machine is for. draining: Runners that shall go.
    """

    picture: Picture
    traits: Mapping[str, Traits]
    expected: Mapping[str, Mapping[str, int]]
    machines: Mapping[str, str]
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    sharing: Mapping[str, int] = field(default_factory=dict)
    draining: Collection[str] = ()
    firehose: Firehose = field(default_factory=Firehose)


def snapshot(sight: Sight, totals: Totals, settings: Settings, period: float) -> Snapshot:
    """Return the snapshot. Only Runners that are in `expected` count."""
    sizes = {queue: place(sight.picture.funcs.get(queue)) for queue in sight.traits}
    there: Counter[str] = Counter()
    for name, hosts in sight.expected.items():
        if not sight.picture.runners[name].silent:
            there.update(hosts)
    here = Counter(sight.machines[name] for name in sight.expected)
    parts = {machine: max(count, sight.sharing.get(machine, 1)) for machine, count in here.items()}
    return Snapshot(
        at=sight.picture.at,
        funcs=tuple(_func(traits, sight, sizes[queue], there[queue]) for queue, traits in sight.traits.items()),
        runners=tuple(_runner(name, sight, sizes, parts[sight.machines[name]], settings) for name in sight.expected),
        totals=totals,
        firehose=sight.firehose,
        period=period,
    )


def place(figures: FuncFigures | None) -> int:
    """Return the bytes that an instance is given room for: what it has, but no less than a Runner reckons with."""
    return max(HOST_BYTES, (figures.rss if figures is not None else None) or 0)


def wake(
    expected: Mapping[str, Mapping[str, int]], wakers: Mapping[str, str], picture: Picture, late: Collection[str]
) -> dict[str, dict[str, int]]:
    """Return what is expected, with the instance that a waker starts by itself since messages wait.

    late: queues that have waited for that for too long.
    """
    counts = {runner: dict(hosts) for runner, hosts in expected.items()}
    there = {queue for hosts in counts.values() for queue in hosts}
    for queue, runner in wakers.items():
        figures, mine = picture.funcs.get(queue), picture.runners.get(runner)
        if queue in there or queue in late or figures is None or mine is None or mine.short or runner not in counts:
            continue
        if figures.ready or figures.in_flight:
            counts[runner][queue] = 1
    return counts


def cores(sight: Sight) -> float | None:
    """Return the cores of all machines that Runners are on; None if one's are not known."""
    by_machine: dict[str, float] = {}
    for name in sight.expected:
        figures = sight.picture.runners[name]
        if figures.silent:
            continue
        if figures.cores is None:
            return None
        by_machine[sight.machines[name]] = figures.cores
    return sum(by_machine.values()) if by_machine else None


def _func(traits: Traits, sight: Sight, size: int, there: int) -> FuncSnapshot:
    figures = sight.picture.funcs.get(traits.queue) or FuncFigures(traits.queue)
    earlier = sight.picture.funcs.get(sight.stand_ins.get(traits.queue, ""))
    running = min(figures.running or 0, there)
    taken = None
    if figures.waiting is not None and figures.at_hosts is not None:
        taken = figures.waiting + figures.at_hosts  # not those that are held for a later attempt
    return FuncSnapshot(
        queue=traits.queue,
        name=traits.name,
        slots=figures.slots or traits.slots,
        arrival_rate=figures.arriving if figures.arriving is not None else figures.arrival_rate,
        service_time=service_time(figures) or (service_time(earlier) if earlier is not None else None),
        ready=figures.ready,
        unacked=taken,
        in_flight=figures.at_hosts,
        running=running,
        starting=there - running,
        start_up=figures.start_up if figures.start_up is not None else earlier.start_up if earlier else None,
        cpu_per_call=_cpu(figures) if _cpu(figures) is not None else _cpu(earlier),
        cores_per_instance=traits.cores,
        rss=size,
        oldest_wait=figures.oldest_wait,
        idle=figures.idle,
        policy=traits.policy,
    )


def service_time(figures: FuncFigures) -> ServiceTime | None:
    """Return the mean time of a call, by the best that is known."""
    if figures.service is not None:
        return ServiceTime(figures.service.mean)
    if figures.service_ever is not None:
        return ServiceTime(figures.service_ever, Basis.REMEMBERED)
    if figures.at_hosts and figures.oldest_call is not None:
        return ServiceTime(figures.oldest_call, Basis.AT_LEAST)
    return None


def _cpu(figures: FuncFigures | None) -> float | None:
    """Return the CPU seconds of a call, where enough calls ended lately: of few, most is what starting a host took."""
    if figures is None or figures.service is None or figures.service.count < ENOUGH:
        return None
    return figures.cpu_per_call


def _runner(name: str, sight: Sight, sizes: Mapping[str, int], part: int, settings: Settings) -> RunnerSnapshot:
    """Return one Runner; `part`: among how many its machine is shared out."""
    figures, hosts = sight.picture.runners[name], sight.expected[name]
    total = None if figures.hosts_limit is None else figures.hosts_limit * HOST_BYTES
    return RunnerSnapshot(
        id=name,
        hosts=dict(hosts),
        memory_free=_free(figures, hosts, sizes, total, part, settings),
        memory_total=total,
        cores_free=_cores_free(sight.machines[name], sight, part),
        cores_total=None if figures.cores is None else figures.cores / part,
        leaving_bytes=figures.leaving,
        in_flight=figures.in_flight,
        draining=name in sight.draining,
        heard=None if figures.silent else figures.age,
    )


def _free(
    figures: RunnerFigures,
    hosts: Mapping[str, int],
    sizes: Mapping[str, int],
    total: int | None,
    part: int,
    settings: Settings,
) -> int | None:
    """Return the memory for further hosts: what its places and its part of the machine leave."""
    if figures.short:
        return 0
    if total is None or figures.memory_available is None:
        return None
    places = total - sum(count * sizes.get(queue, HOST_BYTES) for queue, count in hosts.items())
    left = (figures.memory_available - settings.reserve(figures.memory)) // part
    coming = sum(
        max(0, count - figures.hosts.get(queue, 0)) * sizes.get(queue, HOST_BYTES) for queue, count in hosts.items()
    )
    return max(0, min(places, left - coming))


def _cores_free(machine: str, sight: Sight, part: int) -> float | None:
    figures = [sight.picture.runners[name] for name in sight.expected if sight.machines[name] == machine]
    used = [each.cores_used for each in figures if not each.silent]
    known = [each for each in used if each is not None]
    whole = max((each.cores for each in figures if each.cores is not None), default=None)
    if whole is None or len(known) < len(used):
        return None
    return max(0.0, whole - sum(known)) / part
