"""From a deployment to something that can serve: the bundle fetched and unpacked, its spec compiled, a way to start
hosts. Slow steps run in threads, so that other Funcs go on."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from funcatron import bundles, spec
from funcatron.hosts import Host, HostDriver, Limits, Prepared, User, driver
from funcatron.runner.deployment import Wishes
from funcatron.runner.pool import Launch, OnExit
from funcatron.spec import Api

if TYPE_CHECKING:
    from funcatron.runner.deployment import Deployment
    from funcatron.runner.tools import Tools

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
    validation: str | float | None = None  # of answers, where the deployment says it


async def load(deployment: Deployment, tools: Tools) -> Loaded:
    """Fetch, unpack and compile. Raises BadBundle, BadSpec, HostError, NotFound, SettingsError, StoreError."""
    own = Wishes.read(deployment.settings)
    sha, settings = deployment.sha, tools.settings
    file = await tools.cache.fetch(sha)
    bundle = await asyncio.to_thread(bundles.recognise, file)
    # the Tron has checked the document before it stored the bundle
    api = await asyncio.to_thread(spec.load, bundle.spec_files, bundle.entry, check=False)
    made = driver(bundle.kind)
    prepared = await made.prepare(file, tools.cache.home(sha) / "unpacked")
    limits = Limits(
        memory=settings.host_memory if own.memory is None else own.memory,
        files=settings.host_files if own.files is None else own.files,
        cpu=settings.host_cpu if own.cpu is None else own.cpu,
    )
    slots = own.concurrency or max(
        (operation.concurrency or settings.func_concurrency for operation in api.operations), default=1
    )
    smallest, largest = instances(api, own)
    start = _Start(deployment, tools, api, made, prepared, limits, slots)
    timeout = own.timeout or settings.func_timeout
    return Loaded(api, start, slots, smallest, largest, timeout, own.validate_responses)


def instances(api: Api, own: Wishes) -> tuple[int, int]:
    """Return how many hosts at least and at most: as the deployment says, else the widest that an Operation says.

    Without any: none while idle, and up to the number of cores when one host is not enough.
    """
    cores = os.cpu_count() or 1
    if own.instances is not None:
        low, high = own.instances
    else:
        said = [operation.instances for operation in api.operations if operation.instances is not None]
        low = max((each.min for each in said), default=0)
        high = max((each.max for each in said if each.max is not None), default=None)
    return low, max(low, 1, cores if high is None else high)


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
                "arguments": sorted(operation.arguments),
                "body-name": operation.body_name,
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
