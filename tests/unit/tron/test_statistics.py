"""The merged picture: exact, honest about what it does not know, and of one clock only."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcatron.brokers.base import Depth
from funcatron.errors import BadMessage
from funcatron.message import control, encode, parse
from funcatron.message.histogram import Histogram
from funcatron.message.topology import FIREHOSE
from funcatron.tron.statistics import FuncFigures, Statistics
from funcatron.tron.statistics.merging import KEPT, LAG, SPAN
from funcatron.tron.statistics.runner import PATIENCE
from funcatron.tron.statistics.sums import Sums
from funcatron.tron.statistics.window import Window

Q = "func.pets.abababab"
SHA = "ab" * 32


class Time:
    """Two clocks that go as the test says; the wall clock is far from the steady one."""

    def __init__(self) -> None:
        self.steady = 5000.0

    def wall(self) -> float:
        return self.steady + 1.8e9


class Runner:
    """Says what a Runner would say of one Func."""

    def __init__(self, world: World, name: str = "r1", *, start: str = "s1") -> None:
        self.world, self.name, self.start = world, name, start
        self.seq = 0
        self.full = True
        self.born = world.time.steady
        self.totals: dict[str, Any] = {}
        self.wait, self.service = Histogram(), Histogram()
        self.gauges: dict[str, Any] = {"in-flight": 0, "hosts": {"running": 1}, "slots": 4}

    def work(self, calls: int, *, wait: float = 0.01, service: float = 0.1, **gauges: Any) -> None:
        """Answer so many messages."""
        self.totals["arrivals"] = self.totals.get("arrivals", 0) + calls
        answered = self.totals.setdefault("answered", {})
        answered["2xx"] = answered.get("2xx", 0) + calls
        self.wait.add([wait] * calls)
        self.service.add([service] * calls)
        self.gauges |= gauges

    def message(self, *, within: float = 1.0, **more: Any) -> dict[str, Any]:
        spreads = {"wait": self.wait.tell(full=self.full), "service": self.service.tell(full=self.full)}
        entry = {
            "life": 1,
            "queue": Q,
            "sha": SHA,
            "name": "pets",
            "age": self.world.time.steady - self.born,
            **self.gauges,
            **self.totals,
            **{name: spread for name, spread in spreads.items() if spread is not None},
            **more,
        }
        funcs = [] if more.get("queue") == "" else [entry]
        made = control.stats(self.name, self.start, self.seq, funcs, full=self.full, within=within)
        made |= {"machine": {"cores": 4, "memory-bytes": 100, "cpu-seconds": self.world.time.steady / 10}}
        self.seq += 1
        self.full = False
        return parse(encode(made)).fields

    def tell(self, **more: Any) -> bool:
        """Say it now; returns whether the Tron knows everything."""
        return self.world.statistics.take(self.message(**more))


class World:
    """Statistics and their time."""

    def __init__(self) -> None:
        self.time = Time()
        self.statistics = Statistics(clock=lambda: self.time.steady, wall=self.time.wall)

    def later(self, seconds: float) -> None:
        self.time.steady += seconds

    def measure(self, ready: int | None, unacked: int = 0, firehose: int = 0) -> None:
        depth = None if ready is None else Depth(ready, unacked)
        self.statistics.measured({Q: depth, FIREHOSE: Depth(firehose, 0)})

    @property
    def func(self) -> FuncFigures:
        return self.statistics.picture().funcs[Q]


@pytest.fixture
def here() -> World:
    return World()


# rates, waits and service times


def test_figures_of_several_runners_are_merged(here: World) -> None:
    one, other = Runner(here, "r1"), Runner(here, "r2")
    for _ in range(10):
        here.later(1.0)
        one.work(10, wait=0.01, service=0.1, **{"in-flight": 2, "at-hosts": 2})
        one.tell()
        other.work(30, wait=0.03, service=0.3, hosts={"running": 2, "starting": 1}, **{"in-flight": 5, "waiting": 4})
        other.tell()
    func = here.func
    assert (func.name, func.sha, func.window, func.age) == ("pets", SHA, 10.0, 0.0)
    assert func.taken_rate == pytest.approx(40.0)
    assert (func.in_flight, func.at_hosts, func.waiting) == (7, 2, 4)
    assert (func.running, func.starting, func.slots) == (3, 1, 4)
    assert func.wait is not None
    assert func.wait.count == 400
    assert func.wait.mean == pytest.approx(0.025)
    assert func.service is not None
    assert func.service.mean == pytest.approx(0.25)
    assert func.service.p50 == pytest.approx(0.3, rel=0.02)
    assert func.failing == 0.0


def test_old_calls_leave_the_window_and_only_the_mean_of_all_remembers_them(here: World) -> None:
    runner = Runner(here)
    runner.work(5, service=2.0)
    here.later(1.0)
    runner.tell()
    here.later(SPAN)
    runner.tell()
    func = here.func
    assert (func.taken_rate, func.wait, func.service, func.failing) == (0.0, None, None, None)
    assert func.service_ever == pytest.approx(2.0)


def test_a_rate_is_over_what_is_known_and_none_over_too_little(here: World) -> None:
    runner = Runner(here)
    here.later(0.5)
    runner.work(10)
    runner.tell()
    assert (here.func.window, here.func.taken_rate) == (0.5, None)
    here.later(1.5)
    runner.work(10)
    runner.tell()
    assert (here.func.window, here.func.taken_rate) == (2.0, pytest.approx(10.0))


def test_what_a_runner_did_before_this_tron_began_is_in_no_rate(here: World) -> None:
    runner = Runner(here)
    runner.born -= 3600.0
    runner.work(1_000_000)
    here.later(0.3)
    runner.tell()
    assert here.statistics.totals()[Q].counters == {}
    here.later(2.0)
    runner.work(20)
    runner.tell()
    assert here.func.taken_rate == pytest.approx(10.0)
    assert here.statistics.totals()[Q].counters["arrivals"] == 20


def test_bins_from_before_this_tron_began_are_not_new_when_they_are_told_at_last(here: World) -> None:
    runner = Runner(here)
    runner.born -= 3600.0
    runner.work(100, wait=5.0)
    runner.full = False
    runner.wait.tell(full=False)
    runner.work(1, wait=0.1)
    assert runner.tell() is False, "it should be asked for everything"
    runner.full = True
    assert runner.tell() is True
    here.later(1.0)
    runner.work(1, wait=5.0)
    runner.tell()
    assert sum(here.statistics.totals()[Q].wait.values()) == 1


def test_arrivals_are_what_is_taken_and_what_piles_up(here: World) -> None:
    runner = Runner(here)
    for second in range(6):
        here.later(1.0)
        runner.work(10)
        runner.tell()
        here.measure(ready=second * 90)
    assert here.func.taken_rate == pytest.approx(10.0)
    assert here.func.arrival_rate == pytest.approx(100.0)
    assert here.func.backlog == 450


def test_a_func_without_instances_has_a_rate_by_its_queue_alone(here: World) -> None:
    for second in range(4):
        here.measure(ready=second * 5)
        here.later(1.0)
    func = here.func
    assert func.arrival_rate == pytest.approx(5.0)
    assert (func.name, func.in_flight, func.running, func.backlog) == (None, None, None, None)


def test_messages_that_are_put_back_do_not_arrive_twice(here: World) -> None:
    runner = Runner(here)
    for _ in range(5):
        here.later(1.0)
        runner.work(10)
        runner.totals["arrivals"] += 10
        runner.totals["returned"] = runner.totals.get("returned", 0) + 10
        runner.tell()
        here.measure(ready=0)
    assert here.func.taken_rate == pytest.approx(10.0)
    assert here.func.arrival_rate == pytest.approx(10.0)


def test_errors_are_of_the_window_by_kind(here: World) -> None:
    runner = Runner(here)
    here.later(1.0)
    runner.work(6)
    runner.totals["answered"]["5xx"] = 3
    runner.totals |= {"dead-lettered": 1, "discarded": 2, "errors": {"failed": 3, "expired": 2}, "skewed": 4}
    runner.tell()
    func = here.func
    assert func.errors == {"failed": 3, "expired": 2}
    assert func.failing == pytest.approx(4 / 10)
    assert func.skewed == 4


def test_cpu_and_memory_are_of_calls_and_instances(here: World) -> None:
    runner = Runner(here)
    here.later(1.0)
    runner.work(100)
    runner.totals |= {"cpu-seconds": 0.5, "starts": 2, "start-seconds": 3.0}
    runner.gauges |= {"rss-bytes": 600, "hosts": {"running": 3}}
    runner.tell()
    func = here.func
    assert func.cpu_per_call == pytest.approx(0.005)
    assert (func.rss, func.start_up) == (200, 1.5)


def test_it_is_idle_since_a_message_came_or_was_settled(here: World) -> None:
    runner = Runner(here)
    here.later(1.0)
    runner.work(1)
    runner.tell()
    here.later(7.0)
    assert here.func.idle == pytest.approx(7.0)
    runner.gauges["in-flight"] = 1
    runner.tell()
    assert here.func.idle == 0.0
    runner.gauges["in-flight"] = 0
    runner.tell()
    here.later(2.0)
    assert here.func.idle == pytest.approx(2.0)
    here.measure(ready=1)
    assert here.func.idle == 0.0


# what is not known


def test_nothing_is_known_of_a_func_while_no_runner_is_heard(here: World) -> None:
    here.measure(ready=None)
    func = here.func
    unknown = (func.ready, func.backlog, func.in_flight, func.running, func.starting, func.arrival_rate, func.age)
    assert unknown == (None,) * 7
    assert (func.wait, func.service, func.rss, func.cpu_per_call, func.slots) == (None,) * 5


def test_a_func_that_no_runner_speaks_of_has_no_instances(here: World) -> None:
    here.measure(ready=3)
    Runner(here).tell(queue="")
    assert (here.func.running, here.func.in_flight, here.func.backlog) == (0, 0, 3)


def test_the_figures_of_a_silent_runner_expire_and_it_is_named(here: World) -> None:
    silent, other = Runner(here, "r1"), Runner(here, "r2")
    here.later(1.0)
    silent.work(1, **{"in-flight": 3})
    silent.tell(within=1.0)
    here.later(1.0 + PATIENCE)
    other.tell()
    assert (here.func.in_flight, here.func.silent) == (3, ())
    here.later(0.1)
    func = here.func
    assert (func.in_flight, func.running, func.silent) == (0, 1, ("r1",))
    assert here.statistics.picture().runners["r1"].silent
    here.later(20.0)
    assert (here.func.in_flight, here.func.running) == (None, None)


def test_a_runner_that_promised_to_be_silent_for_longer_may_be(here: World) -> None:
    runner = Runner(here)
    runner.tell(within=10.0)
    here.later(10.0)
    assert here.func.running == 1
    assert here.func.age == 10.0


def test_a_depth_that_is_old_is_not_known(here: World) -> None:
    here.measure(ready=7)
    assert here.func.ready == 7
    here.later(3.5)
    assert (here.func.ready, here.statistics.picture().firehose_ready) == (None, None)


def test_a_runner_that_is_gone_leaves_nothing_but_its_totals(here: World) -> None:
    runner = Runner(here)
    here.later(1.0)
    runner.work(5, **{"in-flight": 2})
    runner.tell()
    here.statistics.gone("r1")
    picture = here.statistics.picture()
    assert picture.runners == {}
    assert (picture.funcs[Q].in_flight, picture.funcs[Q].silent) == (None, ())
    assert here.statistics.totals()[Q].counters["arrivals"] == 5
    assert here.statistics.queues == []


# messages that are lost, and Runners that start anew


def test_a_lost_message_loses_nothing_and_is_noticed(here: World) -> None:
    runner = Runner(here)
    assert runner.tell() is True
    here.later(1.0)
    runner.work(10, wait=0.5)
    runner.message()  # never comes
    here.later(1.0)
    runner.work(10, wait=0.01)
    assert runner.tell() is False
    assert here.func.taken_rate == pytest.approx(10.0)
    runner.full = True
    assert runner.tell() is True
    counted = here.statistics.totals()[Q]
    assert counted.counters["arrivals"] == 20
    assert sum(counted.wait.values()) == 20
    assert here.statistics.picture().runners["r1"].lost == 1


def test_a_runner_is_not_asked_again_at_once(here: World) -> None:
    runner = Runner(here)
    runner.full = False
    assert [runner.tell() for _ in range(3)] == [False, True, True]
    here.later(6.0)
    assert runner.tell() is False


def test_what_happened_in_a_gap_longer_than_the_window_is_in_no_rate(here: World) -> None:
    runner = Runner(here)
    runner.tell()
    runner.message()
    here.later(300.0)
    runner.work(30_000)
    runner.tell()
    assert here.func.taken_rate is None
    assert here.statistics.totals()[Q].counters["arrivals"] == 30_000
    here.later(2.0)
    runner.work(20)
    runner.tell()
    assert here.func.taken_rate == pytest.approx(10.0)


def test_a_runner_that_comes_back_after_it_was_forgotten_counts_on(here: World) -> None:
    runner = Runner(here)
    here.later(1.0)
    runner.work(5)
    runner.tell()
    here.later(40.0)
    here.statistics.gone("r1")
    runner.work(7)
    runner.tell()
    assert here.statistics.totals()[Q].counters["arrivals"] == 12
    assert here.func.running == 1


def test_a_runner_that_was_restarted_begins_at_zero_again(here: World) -> None:
    before = Runner(here)
    here.later(1.0)
    before.work(100, **{"in-flight": 9})
    before.tell()
    here.later(1.0)
    after = Runner(here, start="s2")
    here.later(1.0)
    after.work(3)
    after.tell()
    assert here.func.in_flight == 0
    assert here.statistics.totals()[Q].counters["arrivals"] == 103


def test_a_retired_func_is_gone_but_what_it_did_counts(here: World) -> None:
    runner = Runner(here)
    here.later(1.0)
    runner.work(4)
    runner.tell()
    runner.work(1, hosts={})
    runner.tell(state="retired")
    assert here.func.running == 0
    assert here.statistics.queues == []
    assert here.statistics.totals()[Q].counters["arrivals"] == 5


def test_what_nobody_speaks_of_is_forgotten_in_the_end_and_what_is_wanted_is_not(here: World) -> None:
    runner = Runner(here)
    runner.work(1)
    runner.tell()
    here.statistics.want([("func.other.cdcdcdcd", "other", "cd" * 32)])
    here.statistics.gone("r1")
    here.later(KEPT + 1)
    here.statistics.tick()
    assert list(here.statistics.picture().funcs) == ["func.other.cdcdcdcd"]
    assert here.statistics.queues == ["func.other.cdcdcdcd"]
    assert here.statistics.picture().funcs["func.other.cdcdcdcd"].name == "other"


def test_as_many_counts_as_bins_are_needed(here: World) -> None:
    odd = {"count": 1, "seconds": 1.0, "keys": [1, 2], "counts": [1]}
    with pytest.raises(BadMessage, match="2 keys and 1 counts"):
        Runner(here).tell(wait=odd)
    assert Q not in here.statistics.picture().funcs


# Runners


def test_a_runner_is_shown_with_what_it_has_and_uses(here: World) -> None:
    runner = Runner(here)
    for _ in range(5):
        here.later(1.0)
        runner.work(10)
        runner.totals["cpu-seconds"] = runner.totals.get("cpu-seconds", 0.0) + 0.7
        runner.gauges |= {"in-flight": 3, "at-hosts": 2, "hosts": {"running": 1, "starting": 1}}
        runner.tell()
    shown = here.statistics.picture().runners["r1"]
    assert (shown.cores, shown.memory, shown.hosts) == (4, 100, {Q: 2})
    assert (shown.in_flight, shown.at_hosts, shown.age, shown.silent) == (3, 2, 0.0, False)
    assert shown.cores_used == pytest.approx(0.8)
    assert (shown.memory_available, shown.rss) == (None, None)


def test_a_clock_that_goes_ahead_is_found_out_by_the_fastest_message(here: World) -> None:
    for delay in (0.4, 0.003, 0.2):
        here.later(1.0)
        here.statistics.heard("f1", int((here.time.wall() - delay + 30.0) * 1000))
    here.statistics.heard("silent-about-it", 0)
    clocks = here.statistics.picture().clocks
    assert list(clocks) == ["f1"]
    assert clocks["f1"] == pytest.approx(29.997, abs=0.002)


# where messages went


def opened(here: World, published: int = 0) -> Runner:
    """A Runner, and books that are open; so much was published before."""
    runner = Runner(here)
    publish(here, published)
    runner.tell()
    here.measure(ready=0)
    here.statistics.tick()
    return runner


def publish(here: World, count: int) -> None:
    here.statistics.frontend_published("f1", {FIREHOSE: count}, direct=False)
    here.statistics.tron_dispatched("t1", {Q: count}, ended=0)


def test_messages_that_are_accounted_for_are_no_drift(here: World) -> None:
    runner = opened(here)
    here.later(20.0)
    publish(here, 20)
    runner.work(9, **{"in-flight": 4})
    runner.totals |= {"discarded": 2, "dead-lettered": 2, "both": 1}
    runner.tell()
    here.measure(ready=4)
    overall, flows = here.statistics.flows()
    for flow in (overall, flows[Q]):
        assert (flow.published, flow.answered, flow.discarded, flow.dead_lettered, flow.both) == (20, 9, 2, 2, 1)
        assert (flow.waiting, flow.drift, flow.why) == (8, 0, "")


def test_messages_that_are_lost_are_a_drift_once_nothing_moves_any_more(here: World) -> None:
    runner = opened(here)
    here.later(20.0)
    publish(here, 20)
    runner.work(17)
    runner.tell()
    here.measure(ready=0)
    assert here.statistics.flows()[1][Q].doubt == pytest.approx(17, abs=1), "the figures are not of one instant"
    here.later(2 * SPAN)
    runner.tell()
    here.measure(ready=0)
    overall, flows = here.statistics.flows()
    assert (flows[Q].drift, flows[Q].doubt) == (3, 0)
    assert (overall.drift, overall.doubt) == (3, 0)


def test_what_was_published_before_the_books_were_opened_is_not_missing(here: World) -> None:
    runner = opened(here, 5000)
    here.later(20.0)
    publish(here, 5002)
    runner.work(2)
    runner.tell()
    here.measure(ready=0)
    assert here.statistics.flows()[0].drift == 0


@pytest.mark.parametrize(
    ("mute", "why"),
    [
        (lambda s: s.frontend_published("f2", None, direct=True), "not told by f2"),
        (lambda s: s.tron_dispatched("t2", None, ended=0), "not told by t2"),
    ],
)
def test_who_does_not_tell_what_it_published_makes_the_drift_unknown(here: World, mute: Any, why: str) -> None:
    opened(here)
    mute(here.statistics)
    flow = here.statistics.flows()[1][Q]
    assert (flow.published, flow.drift, flow.why) == (None, None, why)
    here.statistics.gone("f2")
    here.statistics.gone("t2")
    assert here.statistics.flows()[1][Q].drift == 0


def test_a_frontend_that_uses_the_firehose_alone_need_not_tell_for_the_books_of_one_func(here: World) -> None:
    opened(here)
    here.statistics.frontend_published("f2", None, direct=False)
    overall, flows = here.statistics.flows()
    assert (overall.drift, overall.why) == (None, "not told by f2")
    assert flows[Q].drift == 0


def test_what_trons_end_themselves_is_accounted_for(here: World) -> None:
    opened(here)
    here.statistics.frontend_published("f1", {FIREHOSE: 3}, direct=False)
    here.statistics.tron_dispatched("t1", {}, ended=3)
    Runner(here, "r2").tell()
    here.measure(ready=0)
    assert here.statistics.flows()[0].drift == 0


def test_a_queue_whose_depth_is_not_known_has_no_drift(here: World) -> None:
    opened(here)
    here.later(LAG)
    assert here.statistics.flows()[1][Q].drift is None


def test_messages_that_a_runner_has_lost_are_seen_without_anybody_else(here: World) -> None:
    runner = Runner(here)
    runner.work(10, **{"in-flight": 3})
    runner.totals["arrivals"] += 5
    runner.tell()
    assert here.func.unaccounted == 2


# sums


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 50)), min_size=1, max_size=60))
def test_a_window_has_what_came_within_its_span_and_at_most_a_slot_less(steps: list[tuple[float, int]]) -> None:
    now, came = 0.0, []
    window = Window(SPAN, now)
    for pause, count in steps:
        now += pause
        grown = Sums()
        grown.counters["n"], grown.wait[count] = count, count
        window.add(now, grown)
        came.append((now, count))
    most = sum(count for at, count in came if now - at < SPAN)
    fewest = sum(count for at, count in came if now - at < SPAN - 0.2)
    assert fewest <= window.sums["n"] <= most
    assert sum(window.sums.wait.values()) == window.sums["n"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), min_size=1))
def test_differences_of_totals_add_up_to_the_last_total(steps: list[dict[str, int]]) -> None:
    totals, told, added = dict.fromkeys("abc", 0), Sums(), Sums()
    for step in steps:
        after = Sums()
        for name, more in step.items():
            totals[name] += more
        after.counters.update(totals)
        added.add(told.update(after))
    assert {name: added[name] for name in "abc"} == totals


def test_a_window_forgets_what_came_to_nothing(here: World) -> None:
    window = Window(SPAN, 0.0)
    for at in (0.0, 1.0):
        nothing = Sums()
        nothing.counters["n"] = 0.0
        window.add(at, nothing)
    something = Sums()
    something.counters["n"] = 1.5
    window.add(2.0, something)
    window.advance(SPAN + 1.5)
    assert window.sums["n"] == 1.5


# what comes now


def test_what_comes_now_is_what_runners_took_by_their_last_two_messages_and_what_the_queue_grew(here: World) -> None:
    one, other = Runner(here, "r1"), Runner(here, "r2")
    for runner in (one, other):
        runner.work(5)
        runner.tell()
    here.measure(0)
    here.later(1.0)
    one.work(30)
    one.tell()
    here.later(0.5)
    other.work(60)
    other.tell()
    here.later(0.5)
    here.measure(20)
    assert here.func.arriving == pytest.approx(30 / 1.0 + 60 / 1.5 + 20 / 2.0)


def test_it_is_not_counted_twice_what_waited_before_it_was_taken(here: World) -> None:
    runner = Runner(here)
    runner.tell()
    here.measure(100)
    here.later(1.0)
    runner.work(40)
    runner.tell()
    here.measure(60)
    assert here.func.arriving == 0.0


def test_a_runner_whose_last_message_says_nothing_of_a_func_has_taken_none_of_it(here: World) -> None:
    runner = Runner(here)
    runner.tell()
    here.measure(0)
    here.later(1.0)
    runner.work(40)
    runner.tell()
    here.later(1.0)
    runner.tell(queue="")
    here.measure(0)
    assert here.func.arriving == 0.0


def test_what_comes_now_is_not_known_without_two_depths_or_after_a_lost_message(here: World) -> None:
    runner = Runner(here)
    runner.tell()
    here.measure(0)
    assert here.func.arriving is None
    here.later(1.0)
    runner.work(10)
    runner.seq += 1
    runner.tell()
    here.measure(0)
    assert here.func.arriving is None
    here.later(1.0)
    runner.tell()
    here.measure(0)
    assert here.func.arriving == 0.0
    here.later(1.0)
    runner.tell()
    here.measure(None)
    here.later(3.0)
    assert here.func.arriving is None


def test_a_host_that_only_breathes_is_idle(here: World) -> None:
    runner = Runner(here)
    runner.work(1)
    runner.tell()
    for second in range(5):
        here.later(1.0)
        runner.tell(**{"cpu-seconds": second * 0.01, "starts": second, "start-seconds": 0.1})
    here.measure(0)
    assert here.func.idle == 5.0


def test_trouble_is_told_by_runner(here: World) -> None:
    Runner(here, "r1").tell(state="crashing", reason="it died")
    Runner(here, "r2").tell()
    assert here.func.troubles == {"r1": "it died"}


def test_it_is_known_whether_a_runner_has_told_of_everything(here: World) -> None:
    runner = Runner(here)
    runner.full = False
    runner.seq = 4
    runner.tell()
    assert not here.statistics.picture().runners["r1"].complete
    runner.full = True
    runner.tell()
    assert here.statistics.picture().runners["r1"].complete
