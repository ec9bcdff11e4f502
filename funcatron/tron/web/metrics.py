"""The merged figures for machines: `/metrics` in the text format of Prometheus (or OpenMetrics, where that is asked
for), and `/api/v2/stats` as JSON. What is not known has no sample, and is null in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from funcatron.message.histogram import below
from funcatron.tron.counters import Counters
from funcatron.tron.statistics import Flow, FuncFigures, Picture, RunnerFigures, Statistics, Totals
from funcatron.tron.statistics.sums import ANSWER, ERROR

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # s

# name of the metric → name of the counter, and what it is
COUNTED = {
    "arrivals": ("arrivals", "Messages that Runners took from the queue."),
    "returned": ("returned", "Messages that Runners put back into the queue."),
    "discarded": ("discarded", "Messages whose result nobody waited for, or no longer."),
    "dead_letters": ("dead-lettered", "Messages that Runners moved to the dead-letter queue."),
    "skewed_waits": ("skewed", "Waits that came out negative, since clocks differ."),
    "host_starts": ("starts", "Hosts that were started."),
    "host_start_seconds": ("start-seconds", "Seconds that these starts took."),
    "cpu_seconds": ("cpu-seconds", "CPU seconds that hosts used."),
}
# name of the metric → figure of a Func, and what it is
FUNC_GAUGES = {
    "ready": ("ready", "Messages in the queue."),
    "in_flight": ("in_flight", "Messages that Runners took and have not settled."),
    "waiting": ("waiting", "Messages in Runners that wait for a host."),
    "slots": ("slots", "Calls at once in one host."),
    "host_bytes": ("rss", "Resident memory of a host, mean."),
    "report_age_seconds": ("age", "Age of the oldest Runner's report in these figures."),
    "unaccounted": ("unaccounted", "Messages that Runners took and lost; 0 unless something is wrong."),
}
# name of the metric → figure of a Runner, and what it is
RUNNER_GAUGES = {
    "cores": ("cores", "Cores that it may use."),
    "cores_used": ("cores_used", "Cores that it and its hosts use."),
    "memory_bytes": ("memory", "Memory that it may use."),
    "memory_available_bytes": ("memory_available", "Memory that can still be had there."),
    "resident_bytes": ("rss", "Resident memory of the Runner itself."),
    "hosts_limit": ("hosts_limit", "Hosts that it may run."),
    "report_age_seconds": ("age", "Seconds since it was heard."),
    "lost_messages": ("lost", "Messages of it that never came."),
    "clock_ahead_seconds": ("clock_ahead", "How far its clock is ahead of this Tron's."),
}
Label = tuple[str, str]


class Figures(Collector):
    """The figures of one moment, as Prometheus wants them. Once made, they can be read in another thread."""

    def __init__(self, statistics: Statistics, counters: Counters) -> None:
        self.picture, self.totals = statistics.picture(), statistics.totals()
        self.overall, self.flows = statistics.flows()
        self.counters = counters.as_json()

    def collect(self) -> Iterator[Metric]:
        """Return all metrics."""
        funcs = self.picture.funcs
        labels = {queue: (one.name or queue, one.sha or "") for queue, one in funcs.items()}
        yield from _func_counters(self.totals, labels)
        yield from _func_spreads(self.totals, labels)
        yield from _func_gauges(funcs, labels)
        yield from _runners(self.picture.runners)
        yield from _flows(self.overall, self.flows, labels)
        yield from _tron(self.picture, self.counters)


def _func_counters(totals: Mapping[str, Totals], labels: Mapping[str, Label]) -> Iterator[Metric]:
    for name, (counter, text) in COUNTED.items():
        family = CounterMetricFamily(f"funcatron_func_{name}", text, labels=("name", "sha"))
        for queue, total in totals.items():
            family.add_metric(labels[queue], total.counters.get(counter, 0))
        yield family
    for name, prefix, label, text in (
        ("answers", ANSWER, "code", "Answers by class of their status."),
        ("errors", ERROR, "kind", "What went wrong, by kind."),
    ):
        family = CounterMetricFamily(f"funcatron_func_{name}", text, labels=("name", "sha", label))
        for queue, total in totals.items():
            for counter, value in total.counters.items():
                if counter.startswith(prefix):
                    family.add_metric((*labels[queue], counter.removeprefix(prefix)), value)
        yield family


def _func_spreads(totals: Mapping[str, Totals], labels: Mapping[str, Label]) -> Iterator[Metric]:
    waits = HistogramMetricFamily(
        "funcatron_func_wait_seconds", "From when a message was sent until a host got it.", labels=("name", "sha")
    )
    services = HistogramMetricFamily("funcatron_func_service_seconds", "Calls at hosts.", labels=("name", "sha"))
    for queue, total in totals.items():
        for family, name, bins in ((waits, "wait", total.wait), (services, "service", total.service)):
            count = sum(bins.values())
            counts = [(str(bound), float(n)) for bound, n in zip(BOUNDS, below(bins, BOUNDS), strict=True)]
            family.add_metric(
                labels[queue], [*counts, ("+Inf", float(count))], total.counters.get(f"{name}.seconds", 0.0)
            )
    yield waits
    yield services


def _func_gauges(funcs: Mapping[str, FuncFigures], labels: Mapping[str, Label]) -> Iterator[Metric]:
    for name, (figure, text) in FUNC_GAUGES.items():
        family = GaugeMetricFamily(f"funcatron_func_{name}", text, labels=("name", "sha"))
        for queue, one in funcs.items():
            _add(family, labels[queue], getattr(one, figure))
        yield family
    instances = GaugeMetricFamily("funcatron_func_instances", "Hosts, by state.", labels=("name", "sha", "state"))
    for queue, one in funcs.items():
        for state, count in (("running", one.running), ("starting", one.starting)):
            _add(instances, (*labels[queue], state), count)
    yield instances


def _runners(runners: Mapping[str, RunnerFigures]) -> Iterator[Metric]:
    for name, (figure, text) in RUNNER_GAUGES.items():
        family = GaugeMetricFamily(f"funcatron_runner_{name}", text, labels=("runner",))
        for runner in runners.values():
            _add(family, (runner.id,), getattr(runner, figure))
        yield family
    hosts = GaugeMetricFamily("funcatron_runner_hosts", "Hosts that run or start there.", labels=("runner",))
    for runner in runners.values():
        _add(hosts, (runner.id,), None if runner.silent else sum(runner.hosts.values()))
    yield hosts


def _flows(overall: Flow, flows: Mapping[str, Flow], labels: Mapping[str, Label]) -> Iterator[Metric]:
    drift = GaugeMetricFamily(
        "funcatron_func_drift", "Messages published and not accounted for.", labels=("name", "sha")
    )
    doubt = GaugeMetricFamily(
        "funcatron_func_drift_doubt", "How much of the drift says nothing.", labels=("name", "sha")
    )
    for queue, flow in flows.items():
        _add(drift, labels[queue], flow.drift)
        _add(doubt, labels[queue], flow.doubt)
    yield drift
    yield doubt
    yield from _single("funcatron_drift", "Messages published and not accounted for, over all.", overall.drift)
    yield from _single("funcatron_drift_doubt", "How much of that says nothing.", overall.doubt)


def _tron(picture: Picture, counters: Mapping[str, int]) -> Iterator[Metric]:
    yield from _single("funcatron_firehose_ready", "Messages that wait to be dispatched.", picture.firehose_ready)
    family = CounterMetricFamily("funcatron_tron_messages", "What this Tron did with messages.", labels=("what",))
    for name, value in counters.items():
        family.add_metric((name,), value)
    yield family


def _single(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value=value)


def _add(family: GaugeMetricFamily, labels: Iterable[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(tuple(labels), value)


def as_json(picture: Picture, overall: Flow, flows: Mapping[str, Flow]) -> dict[str, Any]:
    """Return the figures as JSON values."""
    return {
        "funcs": [_func(one, flows.get(queue)) for queue, one in sorted(picture.funcs.items())],
        "runners": [_kebab(asdict(one)) for _, one in sorted(picture.runners.items())],
        "firehose-ready": picture.firehose_ready,
        "flow": _kebab(asdict(overall)),
        "clocks-ahead": dict(picture.clocks),
    }


def _func(one: FuncFigures, flow: Flow | None) -> dict[str, Any]:
    more = {"backlog": one.backlog, "flow": None if flow is None else _kebab(asdict(flow))}
    return _kebab(asdict(one)) | more


def _kebab(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Name the figures as messages name theirs; what is in them, such as kinds of errors, keeps its names."""
    return {name.replace("_", "-"): value for name, value in figures.items()}


async def metrics(request: Request) -> Response:
    """The figures for Prometheus."""
    control = request.app.state.tron.control
    registry = CollectorRegistry()
    registry.register(Figures(control.statistics, control.counters))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    text = await asyncio.to_thread(encode, registry)  # half a second for a thousand Funcs: requests go on meanwhile
    return Response(text, headers={"content-type": content_type})


async def stats(request: Request) -> Response:
    """The figures as JSON."""
    statistics: Statistics = request.app.state.tron.control.statistics
    picture, flows = statistics.picture(), statistics.flows()
    shown = await asyncio.to_thread(lambda: orjson.dumps(as_json(picture, *flows)))
    return Response(shown, media_type="application/json")


ROUTES = [Route("/metrics", metrics), Route("/api/v2/stats", stats)]
