"""A Tron that is killed at any write of any change: the next one brings it to a good end, and no request is lost."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

PATH = "/api/v2/deployments/hello"


class Killed:
    """Lets a Registry make so many writes; then nothing goes on. made: whether the last one is made all the same."""

    def __init__(self, monkeypatch, registry, writes, *, made):
        self.left, self.made, self.now = writes, made, asyncio.Event()
        for name in ("apply", "remember"):
            monkeypatch.setattr(registry, name, self._stopping(getattr(registry, name)))

    def _stopping(self, write):
        async def stop(*arguments):
            if self.left > 0:
                self.left -= 1
                return await write(*arguments)
            if self.made and not self.now.is_set():
                await write(*arguments)
            self.now.set()
            await asyncio.Event().wait()  # until the process is killed
            return None

        return stop


class Scene:
    """A deployment that serves the first of three bundles, and a change of it."""

    def __init__(self, installation, bundle):
        self.installation, self.bundle = installation, bundle
        self.data = [bundle(n=number) for number in range(3)]
        self.shas = [hashlib.sha256(data).hexdigest() for data in self.data]

    async def prepare(self, tron, api, action):
        """Bring about what a change begins with."""
        for data in self.data:
            assert (await api.post("/api/v2/bundles", content=data)).status_code == 201
        for sha in self.shas[: 2 if action == "rollback" else 1]:
            await api.put(PATH, json={"sha": sha})
            await self.quiet(tron)
        if action in {"promote", "reshare", "undeploy"}:
            await self.ask(api, "split")
            await self.quiet(tron)

    async def ask(self, api, action):
        """Ask for a change."""
        first, second, third = self.shas
        if action == "deploy":
            return await api.put(PATH, json={"sha": second})
        if action == "rollback":
            return await api.post(f"{PATH}/rollback", json={"sha": first})
        if action in {"split", "reshare"}:
            percent = 50 if action == "split" else 10
            shares = [{"sha": first, "percent": 100 - percent}, {"sha": third, "percent": percent}]
            return await api.put(f"{PATH}/split", json={"shares": shares})
        if action == "promote":
            return await api.post(f"{PATH}/promote", json={"sha": third})
        return await api.delete(PATH)

    def wanted(self, action):
        """Return the SHAs that serve once it is done."""
        first, second, third = self.shas
        return {
            "deploy": {second},
            "rollback": {first},
            "split": {first, third},
            "reshare": {first, third},
            "promote": {third},
            "undeploy": set(),
        }[action]

    async def quiet(self, tron):
        """Wait until nothing is under way and nothing drains any more."""
        async with asyncio.timeout(10):
            while not self.still(tron):  # noqa: ASYNC110 - the state of all parts, which has no events for tests
                await asyncio.sleep(0.005)

    def still(self, tron):
        stages = {one.stage for one in tron.deployments.all.values()}
        return not tron.deployments.draining and stages <= {"routed"}

    def serving(self, tron):
        """Return the SHAs that serve, by the Tron and by the broker's queues."""
        known = {version.sha for one in tron.deployments.all.values() for version in one.versions()}
        queues = {queue for queue in self.installation.hub.queues if queue.startswith("func.")}
        assert queues == {f"func.hello.{sha[:8]}" for sha in known}
        assert {queue for route in tron.deployments.table.ordered for queue in route.queues} == queues
        return known


@pytest.mark.parametrize("made", [True, False], ids=["after the write", "before the write"])
@pytest.mark.parametrize("action", ["deploy", "rollback", "split", "reshare", "promote", "undeploy"])
async def test_a_tron_that_is_killed_at_any_write_is_followed_by_one_that_ends_well(
    installation, bundle, monkeypatch, action, made
):
    frontend, _ = await installation.frontend(), await installation.runner()
    scene = Scene(installation, bundle)
    async with installation.tron(kill=True) as tron, installation.client(tron) as api:
        await scene.prepare(tron, api, action)
    for writes in range(20):
        asked = []
        async with installation.tron(kill=True) as tron, installation.client(tron) as api:
            before = scene.serving(tron)
            killed = Killed(monkeypatch, tron.deployments.registry, writes, made=made)
            change = asyncio.ensure_future(scene.ask(api, action))
            asked += [frontend.request("/hello/x") for _ in range(5)]
            ended = asyncio.ensure_future(_ended(scene, tron, change, action))
            dead = asyncio.ensure_future(killed.now.wait())
            await asyncio.wait({dead, ended}, return_when=asyncio.FIRST_COMPLETED)
            asked += [frontend.request("/hello/x") for _ in range(5)]
            survived = not killed.now.is_set()
            for one in (change, ended, dead):
                one.cancel()
        if survived:
            break
        async with installation.tron(kill=True) as tron, installation.client(tron) as api:
            await scene.quiet(tron)
            assert scene.serving(tron) in (before, scene.wanted(action))  # undone, or brought about
            if action != "undeploy":
                for one in asked:
                    answer = await frontend.answer(one)
                    assert answer.get("sha") in before | scene.wanted(action), answer
            if scene.serving(tron) != scene.wanted(action):
                await scene.ask(api, action)
                await scene.quiet(tron)
            assert scene.serving(tron) == scene.wanted(action)
            if action == "undeploy":
                await api.put(PATH, json={"sha": scene.shas[0]})
            else:
                await api.delete(PATH)
                await scene.quiet(tron)
                await api.put(PATH, json={"sha": scene.shas[0]})
            await scene.quiet(tron)
            if action == "rollback":
                await api.put(PATH, json={"sha": scene.shas[1]})
            elif action in {"promote", "reshare", "undeploy"}:
                await scene.ask(api, "split")
            await scene.quiet(tron)
    assert survived, "there are more writes than this test looks at"
    assert writes > 0, "no write was hit"


async def _ended(scene, tron, change, action):
    """Wait until a change has come to its end."""
    assert (await change).status_code == 202
    async with asyncio.timeout(10):
        while not scene.still(tron) or scene.serving(tron) != scene.wanted(action):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
