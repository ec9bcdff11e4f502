"""From a deployment to something that can serve: the bundle fetched and unpacked, its spec compiled, a way to start
hosts. Slow steps run in threads, so that other Funcs go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from funcatron import bundles, spec
from funcatron.errors import BadMessage
from funcatron.hosts import Host, HostDriver, Limits, Prepared, User, driver
from funcatron.runner.pool import Launch, OnExit
from funcatron.spec import Api

if TYPE_CHECKING:
    from funcatron.runner.func import Deployment, Tools

USERS = 100_000_000  # user ids for hosts, from settings.host_uid on: one a bundle; so many that none is shared


@dataclass(frozen=True)
class Loaded:
    """A Func that can serve."""

    api: Api
    launch: Launch
    slots: int  # calls at once in one host
    smallest: int  # hosts that always run
    largest: int
    timeout: float  # of Operations that say nothing, s


async def load(deployment: Deployment, tools: Tools) -> Loaded:
    """Fetch, unpack and compile. Raises BadBundle, BadSpec, HostError, NotFound, StoreError."""
    sha, settings = deployment.sha, tools.settings
    file = await tools.cache.fetch(sha)
    bundle = await asyncio.to_thread(bundles.recognise, file)
    # the Tron has checked the document before it stored the bundle
    api = await asyncio.to_thread(spec.load, bundle.spec_files, bundle.entry, check=False)
    made = driver(bundle.kind)
    prepared = await made.prepare(file, tools.cache.home(sha) / "unpacked")
    own = deployment.settings
    limits = Limits(
        memory=_number(own, "memory", settings.host_memory),
        files=_number(own, "files", settings.host_files),
        cpu=_number(own, "cpu", settings.host_cpu),
    )
    slots = _number(own, "concurrency", 0) or max(
        (operation.concurrency or settings.func_concurrency for operation in api.operations), default=1
    )
    smallest, largest = instances(api, own)
    start = _Start(deployment, tools, api, made, prepared, limits, slots)
    return Loaded(api, start, slots, smallest, largest, float(own.get("timeout") or settings.func_timeout))


def instances(api: Api, own: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many hosts at least and at most: the deployment's settings, else the widest that an Operation says.

    Without any: none while idle, and up to the number of cores when one host is not enough.
    """
    wish = own.get("instances")
    if isinstance(wish, Mapping):
        low, high = int(wish.get("min") or 0), wish.get("max")
        return low, max(low, 1, int(high) if high else os.cpu_count() or 1)
    said = [operation.instances for operation in api.operations if operation.instances is not None]
    low = max((each.min for each in said), default=0)
    high = max((each.max for each in said if each.max is not None), default=os.cpu_count() or 1)
    return low, max(low, 1, high)


@dataclass(frozen=True)
class _Start:
    """Starts hosts of one bundle."""

    deployment: Deployment
    tools: Tools
    api: Api
    driver: HostDriver
    prepared: Prepared
    limits: Limits
    slots: int

    async def __call__(self, on_exit: OnExit) -> Host:
        sha = self.deployment.sha
        pump = self.tools.pump
        operations = [
            {
                "id": operation.id,
                "method": operation.method,
                "path": operation.path,
                "produces": list(operation.produces),
                "timeout": operation.timeout,
                "aliases": dict(operation.aliases),
                "explicit": sorted(operation.explicit),
            }
            for operation in self.api.operations
        ]
        message = {
            "sha": sha,
            "bundle": str(self.prepared.folder),
            "operations": operations,
            "checkers": list(self.api.checkers),
            "props": dict(self.deployment.props),
            "settings": {**self.deployment.settings, "concurrency": self.slots},
        }
        return await Host.start(
            self.driver,
            self.prepared,
            message,
            limits=self.limits,
            user=user_of(sha, self.tools.settings.host_uid),
            run=self.tools.run,
            on_log=lambda frame: pump.host_line(sha, frame),
            on_exit=on_exit,
        )


def user_of(sha: str, first: int) -> User | None:
    """Return the user that a bundle's hosts run as: where the Runner is root, one of its own (by its SHA)."""
    if os.geteuid() != 0 or first == 0:
        return None
    uid = first + int(sha[:8], 16) % USERS
    return User(uid, uid)


def _number(own: Mapping[str, Any], name: str, default: int) -> int:
    value = own.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadMessage(f"the deployment's setting {name} must be a whole number of 0 or more")
    return value
