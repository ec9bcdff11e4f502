"""The peers' policies do what their pages and sources say."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest

from benchmarks.scaling.calls import Call
from benchmarks.scaling.cluster import Cluster, Pool
from benchmarks.scaling.policies import Policy
from benchmarks.scaling.policies.base import Maximum
from benchmarks.scaling.policies.funcatron import Funcatron
from benchmarks.scaling.policies.keda import Keda, KedaDefault
from benchmarks.scaling.policies.knative import Knative
from benchmarks.scaling.policies.marathon import Marathon, MarathonQueue
from benchmarks.scaling.policies.openfaas import OpenFaas, OpenFaasCE
from benchmarks.scaling.policies.openwhisk import OpenWhisk

LONG = 1e6  # a call that does not end in a test, s


class Early(random.Random):
    """Makes policies begin at once."""

    def uniform(self, a: float, b: float) -> float:
        return a


def under(policy: type[Policy], calls: list[Call], slots: int = 1, start_up: float = 0.01, largest: int = 100) -> Pool:
    """Return a Func under a policy, which did not run yet."""
    cluster = Cluster(largest)
    pool = cluster.add("f", slots, start_up)
    policy(cluster, Early())
    cluster.feed(pool, calls)
    return pool


def at_once(count: int, at: float = 0.5, service: float = LONG) -> list[Call]:
    """Return calls that come together and never give up."""
    return [Call(at, service, math.inf)] * count


def steady(rate: float, seconds: float, service: float, start: float = 0.5) -> list[Call]:
    """Return calls at even distances."""
    return [Call(start + n / rate, service, math.inf) for n in range(round(rate * seconds))]


def targets(pool: Pool, *times: float) -> list[int]:
    """Return the wanted instances at some times."""
    found = []
    for at in times:
        pool.cluster.env.run(until=at)
        found.append(pool.target)
    return found


def test_a_maximum_forgets_what_is_too_old() -> None:
    window = Maximum(10.0)
    assert window.largest(0.0) == 0.0
    for now, value in ((0.0, 5.0), (4.0, 9.0), (8.0, 3.0)):
        window.add(now, value)
    assert [window.largest(now) for now in (8.0, 14.0, 14.1, 18.1)] == [9.0, 9.0, 3.0, 0.0]


# ---------------------------------------------------------------------- Knative


def test_knative_wakes_at_once_and_takes_seven_tenths_of_the_concurrency_as_its_target() -> None:
    pool = under(Knative, steady(20.0, 300.0, 0.65), slots=10)  # 13 at once, 7 an instance
    assert targets(pool, 0.6) == [1]
    assert targets(pool, 200.0) == [2]


def test_knative_panics_at_twice_its_target_and_does_not_shrink_then() -> None:
    pool = under(Knative, at_once(70, service=5.0), slots=10)
    peak = targets(pool, 20.0)[0]
    assert peak >= 5  # 60 s of average alone would say 1
    assert targets(pool, 60.0) == [peak]
    assert targets(pool, 75.0)[0] < peak


def test_knative_shrinks_by_half_at_most_and_to_zero_after_window_and_grace() -> None:
    pool = under(Knative, at_once(280, service=1.0), slots=10)
    seen = targets(pool, *(float(t) for t in range(10, 200, 2)))
    assert all(after >= before // 2 for before, after in itertools.pairwise(seen))
    asleep = next(at for at, count in zip(range(10, 200, 2), seen, strict=True) if count == 0)
    assert 93 <= asleep <= 110  # the last call ended at 3 to 15 s


# ---------------------------------------------------------------------- KEDA


def test_keda_divides_the_messages_by_the_value_unacked_ones_included() -> None:
    pool = under(Keda, at_once(30), slots=10, largest=3)
    assert targets(pool, 14.0, 20.0) == [0, 1]  # the second poll wakes it
    assert targets(pool, 100.0) == [3]


def test_keda_takes_twenty_messages_an_instance_by_default() -> None:
    pool = under(KedaDefault, at_once(50), slots=1)
    assert targets(pool, 100.0) == [3]


def test_the_hpa_grows_by_four_or_doubles_in_each_period() -> None:
    pool = under(Keda, at_once(90), slots=1)
    assert targets(pool, 20.0, 35.0, 50.0, 65.0, 80.0, 95.0) == [1, 5, 10, 20, 40, 80]


def test_the_hpa_shrinks_to_the_largest_recommendation_of_five_minutes_and_keda_to_zero_later() -> None:
    pool = under(Keda, at_once(10, service=60.0), slots=1)
    assert targets(pool, 50.0) == [10]
    assert targets(pool, 300.0) == [10]
    assert targets(pool, 480.0)[0] == 0


def test_the_hpa_tolerates_a_tenth() -> None:
    pool = under(Keda, [*at_once(20), *at_once(1, at=100.0), *at_once(2, at=200.0)], slots=1)
    assert targets(pool, 99.0, 150.0, 250.0) == [20, 20, 23]


# ---------------------------------------------------------------------- OpenWhisk


def test_openwhisk_starts_one_container_at_once_and_more_for_stale_messages() -> None:
    pool = under(OpenWhisk, at_once(40), slots=10, start_up=5.0)
    assert targets(pool, 0.51) == [1]
    assert targets(pool, 0.75) == [4]  # 40 stale messages, ten at once, one container coming


def test_openwhisk_takes_the_throughput_of_a_tenth_of_a_second() -> None:
    warm = steady(2.0, 10.0, 0.05)
    pool = under(OpenWhisk, [*warm, *at_once(41, at=20.55, service=0.05)], slots=1)
    # a container does 2 in 100 ms; one serves already, 40 wait, and containers that serve take from them
    assert targets(pool, 20.54) == [1]
    assert 15 <= targets(pool, 20.8)[0] <= 21


def test_openwhisk_freezes_what_is_idle_and_thaws_it_first() -> None:
    pool = under(OpenWhisk, [*at_once(4, service=1.0), *at_once(1, at=30.0, service=1.0)], slots=1)
    pool.cluster.env.run(until=29.9)
    frozen = sum(i.paused_at is not None for i in pool.instances)
    assert frozen == len(pool.instances) > 1
    starts = pool.tally.starts
    pool.cluster.env.run(until=35.0)
    assert pool.tally.starts == starts
    assert 0.2 <= pool.tally.waits[-1] <= 0.35


def test_openwhisk_ends_frozen_containers_after_ten_minutes() -> None:
    pool = under(OpenWhisk, at_once(1, service=1.0))
    assert targets(pool, 600.0, 620.0) == [1, 0]
    assert pool.instances == []


def test_openwhisk_gives_work_to_few_containers() -> None:
    pool = under(OpenWhisk, [*at_once(8, service=1.0), *steady(1.0, 60.0, 0.1, start=10.0)], slots=1)
    pool.cluster.env.run(until=40.0)
    assert len(pool.serving()) == 1


# ---------------------------------------------------------------------- OpenFaaS


def test_openfaas_holds_the_largest_load_of_45_seconds_against_nine_tenths_of_the_target() -> None:
    pool = under(OpenFaas, at_once(15, service=8.0), slots=5)
    assert targets(pool, 0.1, 12.0) == [1, 4]  # ceil(15 / 4.5)
    assert targets(pool, 50.0, 75.0) == [4, 1]


def test_openfaas_ce_adds_one_while_it_fires_and_falls_back_to_one() -> None:
    pool = under(OpenFaasCE, steady(20.0, 200.0, 0.01), slots=4)
    seen = targets(pool, *(float(t) for t in range(3, 230, 10)))
    assert max(seen) == 5
    assert sorted(set(seen)) == [1, 2, 3, 4, 5]
    assert seen[-1] == 1


# ---------------------------------------------------------------------- marathon-autoscale


def test_marathon_acts_after_four_looks_above_and_five_below() -> None:
    pool = under(MarathonQueue, at_once(12), slots=1)
    assert targets(pool, 30.0, 41.0) == [1, 2]  # looks at 9, 19, 29 and 39 s
    assert targets(pool, 75.0, 81.0) == [2, 2]  # ten wait: within the range
    low = under(MarathonQueue, at_once(1))
    low.scale_to(6)
    assert targets(low, 45.0, 51.0) == [6, 4]


def test_marathon_scales_by_the_busy_share() -> None:
    pool = under(Marathon, at_once(9), slots=10)
    assert targets(pool, 30.0, 41.0) == [1, 2]  # 90 %, then 45 %
    assert targets(pool, 95.0) == [1]


# ---------------------------------------------------------------------- Funcatron


def test_a_waker_starts_the_first_instance_without_a_decision() -> None:
    pool = under(Funcatron, at_once(1, at=10.2))
    assert targets(pool, 10.1, 10.21) == [0, 1]


def test_the_project_s_own_policy_is_the_one_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmarks.scaling.policies.funcatron as own
    from funcatron.tron.scaling import decide

    seen = []

    def spy(*arguments: object) -> object:
        seen.append(arguments)
        return decide(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(own, "decide", spy)
    pool = under(Funcatron, steady(30.0, 20.0, 0.5), slots=2)
    pool.cluster.env.run(until=20.0)
    assert len(seen) == 20
    assert seen[-1][0].funcs[0].arrival_rate == 30.0  # type: ignore[attr-defined]
    assert pool.target == 10  # 15 busy slots, √15 spare ones


@pytest.mark.parametrize("policy", [Funcatron, Knative, Keda, KedaDefault, OpenWhisk, OpenFaas, OpenFaasCE, Marathon])
def test_each_policy_keeps_a_func_with_steady_calls_alive(policy: type[Policy]) -> None:
    pool = under(policy, steady(2.0, 400.0, 0.2), slots=4)
    served: Callable[[], int] = lambda: pool.tally.in_time  # noqa: E731
    pool.cluster.env.run(until=120.0)
    before = served()
    pool.cluster.env.run(until=380.0)
    assert served() - before == pytest.approx(520, abs=3)
