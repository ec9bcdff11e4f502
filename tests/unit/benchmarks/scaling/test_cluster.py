"""The simulated cluster: nothing is lost, and queues obey the law of queues."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.scaling.calls import Call, arrivals, exponential, lognormal
from benchmarks.scaling.cluster import Cluster, Pool
from benchmarks.scaling.policies import POLICIES
from benchmarks.scaling.runs import run
from benchmarks.scaling.traces import FuncLoad, Trace, all_traces, seeded, step


def pool_of(calls: list[Call], slots: int = 1, instances: int = 1, start_up: float = 0.0, largest: int = 100) -> Pool:
    """Return a pool of a cluster that did not run yet."""
    cluster = Cluster(largest)
    pool = cluster.add("f", slots, start_up)
    pool.scale_to(instances)
    cluster.feed(pool, calls)
    return pool


def patient(*times: tuple[float, float]) -> list[Call]:
    """Return calls of (arrival, service time) whose callers wait for ever."""
    return [Call(at, service, math.inf) for at, service in times]


def erlang_c(servers: int, load: float) -> float:
    """Return the probability of waiting in an M/M/c queue with so many busy servers on average."""
    top = load**servers / math.factorial(servers) * servers / (servers - load)
    return top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)


@pytest.mark.parametrize(("slots", "instances"), [(1, 1), (4, 1), (1, 4), (2, 5)])
@pytest.mark.parametrize("busy", [0.5, 0.8])
def test_waits_are_those_of_an_mmc_queue(slots: int, instances: int, busy: float) -> None:
    servers = slots * instances
    rate, service = busy * servers / 0.1, 0.1
    rng = random.Random(f"{servers}/{busy}")
    length = 60_000 / rate
    calls = [Call(at, rng.expovariate(1 / service), math.inf) for at in arrivals(lambda _: rate, rate, length, rng)]
    pool = pool_of(calls, slots, instances)
    pool.cluster.run(length)
    waiting = erlang_c(servers, rate * service)
    waits = pool.tally.waits
    assert sum(wait > 0 for wait in waits) / len(waits) == pytest.approx(waiting, rel=0.1)
    assert sum(waits) / len(waits) == pytest.approx(waiting * service / (servers * (1 - busy)), rel=0.15)
    assert pool.busy_seconds() / length == pytest.approx(rate * service, rel=0.03)


def test_the_mean_number_of_calls_is_their_rate_times_their_time() -> None:
    """Little's law, which holds for any arrivals and any order."""
    rng = random.Random(3)
    calls = [
        Call(at, rng.lognormvariate(-2, 1), math.inf) for at in arrivals(lambda t: 20 + 10 * math.sin(t), 30, 500, rng)
    ]
    pool = pool_of(calls, slots=2, instances=3)
    pool.cluster.run(2000)
    assert pool.tally.in_time == len(calls)
    assert pool.call_seconds() == pytest.approx(sum(pool.tally.waits) + sum(call.service for call in calls))


def test_calls_are_served_in_their_order_one_in_each_slot() -> None:
    pool = pool_of(patient((0.0, 2.0), (0.5, 1.0), (1.0, 1.0)))
    pool.cluster.run(10)
    assert pool.tally.waits == [0.0, 1.5, 2.0]


def test_a_call_past_its_deadline_is_dropped_unserved() -> None:
    pool = pool_of([Call(0.0, 2.0, 9.0), Call(0.5, 1.0, 1.5), Call(1.0, 1.0, 9.0)])
    pool.cluster.run(10)
    assert (pool.tally.in_time, pool.tally.late, pool.tally.expired) == (2, 0, 1)
    assert pool.tally.waits == [0.0, 1.0, 1.0]


def test_an_answer_after_the_deadline_is_a_miss() -> None:
    pool = pool_of([Call(0.0, 2.0, 1.0)])
    pool.cluster.run(10)
    assert (pool.tally.in_time, pool.tally.late, pool.tally.expired) == (0, 1, 0)


def test_an_instance_takes_calls_once_it_has_started_and_costs_from_the_decision() -> None:
    pool = pool_of(patient((0.0, 1.0)), start_up=10.0)
    pool.cluster.run(100)
    assert 8.0 <= pool.tally.waits[0] <= 12.0
    assert pool.tally.instance_seconds == 100.0


def test_an_instance_that_is_to_go_finishes_its_call_first() -> None:
    pool = pool_of(patient((1.0, 5.0), (3.0, 1.0)))
    pool.cluster.after(2.0, lambda: pool.scale_to(0))
    pool.cluster.run(100)
    assert (pool.tally.in_time, len(pool.queue)) == (1, 1)
    assert pool.tally.instance_seconds == 6.0


def test_the_least_busy_go_first_and_those_that_start_before_them() -> None:
    pool = pool_of(patient((0.5, 50.0), (0.6, 50.0), (0.7, 50.0)), slots=2, instances=2)
    cluster = pool.cluster
    pool.start_up = 20.0
    cluster.after(1.0, lambda: pool.scale_to(3))
    cluster.after(2.0, lambda: pool.scale_to(2))
    cluster.env.run(until=3.0)
    assert [i.busy for i in pool.instances] == [2, 1]
    pool.scale_to(1)
    assert [i.busy for i in pool.instances if not i.leaving] == [2]


def test_instances_beyond_the_room_start_when_there_is_room() -> None:
    cluster = Cluster(largest=3)
    one, other = cluster.add("a", 1, 0.0), cluster.add("b", 1, 0.0)
    one.scale_to(3)
    other.scale_to(2)
    assert (len(one.instances), len(other.instances)) == (3, 0)
    one.scale_to(1)
    assert (len(one.instances), len(other.instances)) == (1, 2)


def test_in_an_outage_calls_go_back_to_the_queue_and_starts_wait_for_its_end() -> None:
    pool = pool_of(patient((0.0, 5.0), (1.0, 1.0)), slots=2)
    pool.cluster.break_down(2.0, 10.0)
    pool.cluster.run(30)
    assert pool.tally.in_time == 2
    assert pool.tally.waits == [0.0, 0.0, 10.0, 9.0]  # both wait again
    assert pool.tally.starts == 2


def test_a_frozen_instance_takes_no_calls_and_is_paid_for() -> None:
    pool = pool_of(patient((5.0, 1.0)))
    cluster = pool.cluster
    cluster.env.run(until=1.0)
    pool.pause(pool.instances[0])
    cluster.after(9.0, lambda: pool.resume(pool.instances[0], 0.5))
    cluster.run(20)
    assert pool.tally.waits == [5.5]
    assert (pool.tally.instance_seconds, pool.tally.paused_seconds) == (20.0, 9.0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(POLICIES),
    st.integers(0, 10_000),
    st.floats(1, 40),
    st.integers(1, 5),
    st.floats(0.1, 12),
    st.floats(0.5, 20),
    st.booleans(),
)
def test_no_call_is_lost_or_counted_twice(
    policy: type, seed: int, rate: float, slots: int, start_up: float, patience: float, outage: bool
) -> None:
    load = FuncLoad("f", step(5, 60, rate, 1.0), rate + 1, exponential(0.3), slots, start_up, patience)
    trace = Trace("t", "", (load,), seconds=90.0, largest=8, outage=(30.0, 40.0) if outage else None)
    calls = seeded(trace, seed)
    result = run(trace, calls, policy, seed)
    assert result.calls == len(calls["f"])
    assert 0 <= result.missed <= result.calls
    assert result.open + result.missed <= result.calls
    assert 0 <= result.work_seconds <= result.instance_seconds <= 8 * 90.0 + 1e-6
    assert all(instances <= 8 for _, instances, _ in result.curve)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(0, 4), st.floats(0.2, 5))
def test_what_arrived_was_answered_dropped_or_is_there(seed: int, instances: int, patience: float) -> None:
    rng = random.Random(seed)
    calls = [Call(at, rng.expovariate(2), at + patience) for at in arrivals(lambda _: 10.0, 10.0, 60.0, rng)]
    pool = pool_of(calls, slots=2, instances=instances, start_up=1.0)
    pool.cluster.run(40.0)
    tally = pool.tally
    assert tally.arrived == sum(call.at < 40.0 for call in calls)
    assert tally.arrived == tally.in_time + tally.late + tally.expired + pool.present()
    assert pool.present() == len(pool.queue) + pool.running_calls()


def test_the_same_seed_gives_the_same_calls_and_another_seed_others() -> None:
    for trace in all_traces():
        assert seeded(trace, 1) == seeded(trace, 1)
        assert seeded(trace, 1) != seeded(trace, 2)


def test_the_same_calls_under_the_same_policy_come_out_the_same() -> None:
    trace = Trace("t", "", (FuncLoad("f", step(5, 50, 20), 20, exponential(0.2)),), seconds=80.0)
    calls = seeded(trace, 4)
    one, other = (run(trace, calls, POLICIES[0], 4) for _ in range(2))
    assert one == other


def test_arrivals_follow_their_rate() -> None:
    times = list(arrivals(lambda t: 40.0 if t < 50 else 10.0, 40.0, 100.0, random.Random(5)))
    assert times == sorted(times)
    assert sum(t < 50 for t in times) == pytest.approx(2000, rel=0.1)
    assert sum(t >= 50 for t in times) == pytest.approx(500, rel=0.15)


@pytest.mark.parametrize("service", [exponential(0.5), lognormal(0.5, 1.0)])
def test_service_times_have_their_mean(service: object) -> None:
    rng = random.Random(6)
    assert sum(service(rng) for _ in range(40_000)) / 40_000 == pytest.approx(0.5, rel=0.05)  # type: ignore[operator]
