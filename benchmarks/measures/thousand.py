"""A thousand deployed Funcs of which one is called: what they cost the Tron, and that they cost nothing else."""

from __future__ import annotations

import asyncio
import hashlib

from benchmarks.figures import Figure, at_least, at_most, median
from benchmarks.lab import Lab, paired
from benchmarks.load import wrk
from benchmarks.measures.throughput import one_round
from benchmarks.measures.waiting import settle
from benchmarks.plan import CONNECTIONS
from benchmarks.procfs import rss
from benchmarks.subjects.funcatron import Funcatron, FuncatronServers
from funcatron.stores.records import BundleRecord, Deployment, Version
from funcatron.stores.registry import Change, Registry

TRON_AND_RUNNER = ("tron", "runner-1")


def thousand(lab: Lab) -> list[Figure]:
    """A second stack gets them by its Registry, since to deploy one by one loads each once, and is restarted."""
    one = lab.subject("funcatron-firehose")
    many = Funcatron(FuncatronServers(lab.folder / "many"), "firehose")
    many.name = "many"
    with lab.until_done(many.stop):
        many.start()
        servers, count = many.servers, lab.plan.funcs
        servers.restart(*TRON_AND_RUNNER)
        alone = idle_rss(many)
        servers.restart(*TRON_AND_RUNNER, meanwhile=lambda: asyncio.run(fill(servers.settings.registry_url, count)))
        crowded = idle_rss(many)
        wrk(many.url("greet"), CONNECTIONS, 1)
        hosts = len(many.components()["host"])
        rounds = lab.alternate([one, many], lab.plan.body_rounds, lambda subject: one_round(subject, lab.plan.seconds))
    rates = {name: [each.rate for each in found] for name, found in rounds.items()}
    used = {name: [each.cpu["tron"] for each in found] for name, found in rounds.items()}
    group = f"{count:,} deployed Funcs"
    return [
        Figure(f"{group}/req/s : those of one", paired(rates["many"], rates[one.name]), "ratio", at_least(0.9)),
        Figure(
            f"{group}/Tron CPU a message : that of one", paired(used["many"], used[one.name]), "ratio", at_most(1.1)
        ),
        Figure(f"{group}/Tron CPU a message", median(used["many"]) * 1e6, "µs"),
        Figure(f"{group}/Tron RSS each", (crowded - alone) / count / 1e3, "kB", at_most(10)),
        Figure(f"{group}/hosts that run for idle ones", hosts - len(one.components()["host"]), "", at_most(0)),
    ]


def idle_rss(subject: Funcatron) -> int:
    """The Tron's memory once it and the Runner have come to rest and a request was served."""
    for part in TRON_AND_RUNNER:
        settle(subject.servers.pid(part))
    wrk(subject.url("greet"), 1, 1)
    return rss(subject.servers.pid("tron"))


async def fill(url: str, count: int) -> None:
    """Write so many deployments that serve already; the Tron is to be down meanwhile."""
    registry = Registry(url)
    await registry.open()
    try:
        for number in range(count):
            sha = hashlib.sha256(str(number).encode()).hexdigest()
            name, path = f"idle-{number}", f"/idle/{number}"
            await registry.add_bundle(BundleRecord(sha, "python", name, None, path, size=0))
            version = Version(sha, None, path)
            deployment = Deployment(name, version, serving=version, stage="routed")
            await registry.apply(Change(save=deployment, routes=True))
    finally:
        await registry.close()
