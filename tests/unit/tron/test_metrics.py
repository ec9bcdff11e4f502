"""What a Tron shows of its figures: to Prometheus, and as JSON; and how they come to it."""

from __future__ import annotations

from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from funcatron.brokers.base import Depth, Outgoing
from funcatron.brokers.gauge import EachQueue
from funcatron.message import control, encode, topology
from funcatron.message.histogram import Histogram
from funcatron.tron.depths import Depths
from funcatron.tron.tron import Tron

Q = "func.pets.abababab"
SHA = "ab" * 32


def stats(seq: int = 0, *, full: bool = True, **more: Any) -> dict[str, Any]:
    """What a Runner says of one Func."""
    wait, service = Histogram(), Histogram()
    wait.add([0.004] * 3 + [0.2])
    service.add([0.02] * 4)
    entry = {
        "life": 1,
        "queue": Q,
        "sha": SHA,
        "name": "pets",
        "age": 0.5,
        "in-flight": 2,
        "at-hosts": 2,
        "hosts": {"running": 1, "starting": 1},
        "rss-bytes": 100,
        "arrivals": 6,
        "answered": {"2xx": 3, "5xx": 1},
        "errors": {"failed": 1},
        "wait": wait.tell(full=True),
        "service": service.tell(full=True),
        **more,
    }
    return control.stats("r1", "s1", seq, [entry], full=full, within=1.0, machine={"cores": 2})


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Parse an exposition as Prometheus does."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return samples(answer.text)


def of(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


PETS = of(name="pets", sha=SHA)


async def test_prometheus_gets_every_figure(tron: Tron, client: httpx.AsyncClient) -> None:
    statistics = tron.control.statistics
    assert statistics.take(stats())
    statistics.measured({Q: Depth(5, 2), topology.FIREHOSE: Depth(1, 0)})
    found = await scrape(client)
    assert found["funcatron_func_arrivals_total", PETS] == 6
    assert found["funcatron_func_answers_total", PETS | of(code="5xx")] == 1
    assert found["funcatron_func_errors_total", PETS | of(kind="failed")] == 1
    assert found["funcatron_func_in_flight", PETS] == 2
    assert found["funcatron_func_ready", PETS] == 5
    assert found["funcatron_func_instances", PETS | of(state="starting")] == 1
    assert found["funcatron_func_wait_seconds_bucket", PETS | of(le="0.005")] == 3
    assert found["funcatron_func_wait_seconds_bucket", PETS | of(le="+Inf")] == 4
    assert found["funcatron_func_wait_seconds_count", PETS] == 4
    assert found["funcatron_func_service_seconds_sum", PETS] == 0.08
    assert found["funcatron_runner_cores", of(runner="r1")] == 2
    assert found["funcatron_runner_hosts", of(runner="r1")] == 2
    assert found["funcatron_firehose_ready", of()] == 1
    assert found["funcatron_tron_messages_total", of(what="dispatched")] == 0


async def test_what_is_not_known_has_no_sample(tron: Tron, client: httpx.AsyncClient) -> None:
    tron.control.statistics.measured({Q: None, topology.FIREHOSE: None})
    named = {name for name, _ in await scrape(client)}
    assert not named & {"funcatron_func_ready", "funcatron_func_in_flight", "funcatron_func_instances"}
    assert not named & {"funcatron_firehose_ready", "funcatron_func_drift", "funcatron_drift"}


async def test_the_same_as_json_with_null_for_what_is_not_known(tron: Tron, client: httpx.AsyncClient) -> None:
    tron.control.depths = None  # the queues are not measured any more
    tron.control.statistics.measured({topology.FIREHOSE: None})
    tron.control.statistics.take(stats())
    tron.control.statistics.tron_dispatched("t2", None, ended=0)
    answer = await client.get("/api/v2/stats")
    assert answer.headers["content-type"] == "application/json"
    shown = answer.json()
    (func,) = shown["funcs"]
    assert (func["queue"], func["name"], func["in-flight"], func["backlog"]) == (Q, "pets", 2, None)
    assert (func["errors"], func["service"]["count"]) == ({"failed": 1}, 4)
    assert (func["flow"]["answered"], func["flow"]["drift"]) == (4, None)
    assert func["flow"]["why"] == "not told by t2"
    (runner,) = shown["runners"]
    assert (runner["id"], runner["cores"], runner["clock-ahead"]) == ("r1", 2, None)
    assert shown["firehose-ready"] is None


# how they come


async def test_what_a_runner_says_is_taken_and_a_tron_that_missed_something_asks(
    installation: Any, tron: Tron, wait_until: Any
) -> None:
    runner = await installation.runner()
    await wait_until(lambda: runner.actions("all-bundles"))
    tron.broker.publish(Outgoing(encode(stats()), topology.FOR_TRON))
    await wait_until(lambda: Q in tron.control.statistics.picture().funcs)
    assert runner.actions("resend-awake") == []
    tron.broker.publish(Outgoing(encode(stats(5, full=False)), topology.FOR_TRON))
    await wait_until(lambda: runner.actions("resend-awake"))


async def test_a_runner_that_is_known_by_its_figures_alone_is_told_everything(
    installation: Any, tron: Tron, wait_until: Any
) -> None:
    runner = await installation.runner()
    await wait_until(lambda: runner.actions("all-bundles"))
    tron.peers.gone("r1")
    runner.heard.clear()
    tron.broker.publish(Outgoing(encode(stats()), topology.FOR_TRON))
    await wait_until(lambda: runner.actions("all-bundles"))


async def test_a_runner_that_says_that_it_goes_is_in_no_figure(installation: Any, tron: Tron, wait_until: Any) -> None:
    runner = await installation.runner()
    tron.broker.publish(Outgoing(encode(stats()), topology.FOR_TRON))
    await wait_until(lambda: tron.control.statistics.picture().runners)
    runner.say("died")
    await wait_until(lambda: not tron.control.statistics.picture().runners)


async def test_what_a_frontend_says_that_it_published_is_taken(installation: Any, tron: Tron, wait_until: Any) -> None:
    frontend = await installation.frontend()
    frontend.say("heartbeat", published={"funcatron.firehose": 3})
    tron.control.statistics.measured({topology.FIREHOSE: Depth(0, 0)})
    await wait_until(lambda: tron.control.statistics.flows()[0].published is not None)
    frontend.say("heartbeat")
    await wait_until(lambda: tron.control.statistics.flows()[0].why == "not told by f1")


async def test_clocks_are_compared_by_the_messages_of_those_who_are_known(
    installation: Any, tron: Tron, wait_until: Any
) -> None:
    frontend = await installation.frontend()
    frontend.say("heartbeat", at=1)
    await wait_until(lambda: "f1" in tron.control.statistics.picture().clocks)
    assert tron.control.statistics.picture().clocks["f1"] < -1e9


async def test_the_queues_of_wanted_funcs_are_measured_each_tick(
    installation: Any, tron: Tron, client: httpx.AsyncClient, bundle: Any, wait_until: Any
) -> None:
    await installation.runner()
    sha = (await client.post("/api/v2/bundles", content=bundle())).json()["sha"]
    await client.put("/api/v2/deployments/hello", json={"sha": sha})
    control = tron.control
    control.depths = Depths(EachQueue(tron.broker), control.statistics.measured)
    queue = topology.func_queue("hello", sha)
    control.tick()
    await wait_until(lambda: control.statistics.picture().funcs.get(queue))
    await wait_until(lambda: control.statistics.picture().funcs[queue].ready == 0)
    assert control.statistics.picture().funcs[queue].name == "hello"
    assert control.statistics.picture().firehose_ready == 0
