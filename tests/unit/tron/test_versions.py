"""Versions of a deployment: roll-back, splits, promotion, through the API with played Runners and a Frontend."""

from __future__ import annotations

import hashlib
import json

import pytest
import pytest_asyncio

from funcatron.errors import StoreError
from funcatron.tron.routes import choose
from funcatron.tron.statistics import Totals
from tests.unit.tron.document import check


def sha_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest_asyncio.fixture
async def api(installation, tron):
    """A client whose answers are held to the API's document."""
    async with installation.client(tron, event_hooks={"response": [check]}) as made:
        yield made


class Desk:
    """Deploys bundles as `hello`, and looks at what became of them."""

    def __init__(self, tron, api, bundle):
        self.tron, self.api, self.bundle = tron, api, bundle
        self.shas = []

    async def store(self, number, **more):
        data = self.bundle(n=number, **more)
        stored = await self.api.post("/api/v2/bundles", content=data)
        assert stored.status_code in {200, 201}, stored.text
        return sha_of(data)

    async def deploy(self, number, **more):
        """Deploy and wait until it serves."""
        sha = await self.store(number)
        begun = await self.put(sha, **more)
        assert begun.status_code == 202, begun.text
        assert (await self.tron.deployments.settled("hello", sha, 5)).stage == "routed"
        return sha

    async def put(self, sha, **more):
        return await self.api.put("/api/v2/deployments/hello", json={"sha": sha, **more})

    async def post(self, what, **body):
        return await self.api.post(f"/api/v2/deployments/hello/{what}", json=body)

    async def split(self, shares, **more):
        body = {"shares": [{"sha": sha, "percent": percent} for sha, percent in shares.items()], **more}
        return await self.api.put("/api/v2/deployments/hello/split", json=body)

    async def shown(self):
        return (await self.api.get("/api/v2/deployments/hello")).json()

    async def routed(self, sha):
        """Wait until it is routed, this SHA among what serves."""
        found = await self.tron.deployments.settled("hello", sha, 5)
        assert found.stage == "routed", found.error
        assert sha in {version.sha for version in found.versions()}
        return found

    async def past(self):
        events = (await self.api.get("/api/v2/deployments/hello/history")).json()["events"]
        return [(one["what"], one["outcome"], one["sha"][:8], one["who"]) for one in events][::-1]


@pytest.fixture
def desk(tron, api, bundle):
    return Desk(tron, api, bundle)


# roll-back


async def test_rolling_back_brings_what_served_before_with_its_properties_and_settings(installation, desk, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    old = await desk.deploy(1, props={"color": "red"}, settings={"timeout": 3})
    new = await desk.deploy(2, props={"color": "blue"})
    await wait_until(lambda: not desk.tron.deployments.draining)
    assert (await desk.post("rollback")).json()["sha"] == old
    await desk.routed(old)
    found = await desk.shown()
    assert (found["serving"], found["props"], found["settings"]) == (old, {"color": "red"}, {"timeout": 3})
    assert runner.actions("enable")[-1]["props"] == {"color": "red"}
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == old
    await wait_until(lambda: f"func.hello.{new[:8]}" not in installation.hub.queues)
    assert [one[:3] for one in await desk.past()][-3:] == [
        ("rollback", "begun", old[:8]),
        ("rollback", "routed", old[:8]),
        ("drain", "retired", new[:8]),
    ]


async def test_rolling_back_to_a_sha_skips_those_in_between(installation, desk):
    await installation.runner()
    first, second, third = [await desk.deploy(number) for number in (1, 2, 3)]
    versions = (await desk.api.get("/api/v2/deployments/hello/versions")).json()["versions"]
    assert [(one["sha"], one["serving"]) for one in versions] == [(third, True), (second, False), (first, False)]
    await desk.post("rollback", sha=first[:6])
    await desk.routed(first)
    again = await desk.post("rollback", sha=first[:6])  # what serves already
    assert (again.json()["stage"], again.json()["sha"]) == ("routed", first)


async def test_a_sha_that_never_served_is_a_404_that_lists_those_that_did(installation, desk):
    await installation.runner()
    assert (await desk.post("rollback")).status_code == 404  # there is no deployment
    sha = await desk.deploy(1)
    nothing = await desk.post("rollback")
    assert (nothing.status_code, "nothing else served before" in nothing.json()["detail"]) == (404, True)
    await desk.deploy(2)
    unknown = await desk.post("rollback", sha="0123456789")
    assert unknown.status_code == 404
    assert f"begins with '0123456789': there are {sha[:8]}" in unknown.json()["detail"]


async def test_rolling_back_what_is_under_way_gives_it_up_and_loses_nothing(installation, desk, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    old = await desk.deploy(1)
    runner.silent = True
    new = await desk.store(2)
    assert (await desk.put(new)).json()["stage"] == "loading"
    for refused in (
        await desk.put(await desk.store(3)),
        await desk.post("rollback", sha=old[:8]),
        await desk.post("promote", sha=old[:8]),
        await desk.split({old[:8]: 50, (await desk.store(3))[:8]: 50}),
    ):
        assert refused.status_code == 409
        assert f"hello is being deployed with {new[:8]} (stage loading)" in refused.json()["detail"]
    found = (await desk.post("rollback")).json()
    assert (found["stage"], found["sha"], found["serving"]) == ("routed", old, old)
    assert desk.tron.deployments.rollouts.loading == {}
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == old
    await wait_until(lambda: f"func.hello.{new[:8]}" not in installation.hub.queues)
    assert ("deploy", "failed", new[:8], "api") in await desk.past()
    runner.silent = False
    await desk.deploy(2)


async def test_rolling_back_after_a_failure_stays_at_what_serves(installation, desk):
    runner = await installation.runner()
    await desk.deploy(1)
    serving = await desk.deploy(2)
    bad = await desk.store(3)
    runner.refuse[bad] = "ImportError: nope"
    await desk.put(bad)
    failed = await desk.tron.deployments.settled("hello", bad, 5)
    assert (failed.stage, failed.error, failed.serving.sha) == ("failed", "ImportError: nope", serving)
    found = (await desk.post("rollback")).json()
    assert (found["stage"], found["sha"], found["error"]) == ("routed", serving, None)


async def test_a_disabled_deployment_can_be_rolled_back_into_service(installation, desk):
    await installation.runner()
    sha = await desk.deploy(1, props={"k": 1})
    assert (await desk.api.post("/api/v1/disable", json={"sha": sha})).status_code == 200
    await desk.post("rollback")
    await desk.routed(sha)
    assert (await desk.shown())["props"] == {"k": 1}


async def test_a_deployment_that_never_gets_ready_is_taken_back_when_its_time_is_over(installation, desk):
    runner = await installation.runner()
    old = await desk.deploy(1)
    runner.silent = True
    new = await desk.store(2)
    await desk.put(new, **{"ready-within": 0.05})
    failed = await desk.tron.deployments.settled("hello", new, 5)
    assert failed.stage == "failed"
    assert "no Runner served it within 0.05 s" in str(failed.error)
    assert failed.serving.sha == old
    for wrong in (0, -1, 3601, "x", True):
        assert (await desk.put(new, **{"ready-within": wrong})).status_code == 400


# splits


async def test_a_split_serves_both_by_a_hash_of_the_request_id(installation, desk):
    frontend, _ = await installation.frontend(), await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    begun = await desk.split({old[:8]: 60, new[:8]: 40})
    assert (begun.status_code, begun.json()["sha"]) == (202, new)
    await desk.routed(new)
    found = await desk.shown()
    assert (found["sha"], found["serving"]) == (old, old)
    assert [(one["sha"], one["percent"]) for one in found["split"]["shares"]] == [(old, 60), (new, 40)]
    assert {one["sha"] for one in found["runners"]} == {old, new}
    route = desk.tron.deployments.table.find("", "/hello")
    for _ in range(60):
        request_id = frontend.request("/hello/x")
        assert (await frontend.answer(request_id))["sha"] == route.to(choose(route, request_id)).sha
    assert {answer["sha"] for answer in frontend.answers.values()} == {old, new}
    assert frontend.actions("route")[-1]["routes"][0]["split"] == [
        {"queue": f"func.hello.{sha[:8]}", "sha": sha, "percent": percent} for sha, percent in ((old, 60), (new, 40))
    ]


async def test_by_a_header_the_same_user_always_comes_to_the_same_version(installation, desk):
    frontend, _ = await installation.frontend(), await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    await desk.split({new: 50, old: 50}, sticky="header:X-User")
    await desk.routed(new)
    route = desk.tron.deployments.table.find("", "/hello")
    assert route.sticky == "x-user"
    for headers, key in [
        ({"x-user": "ada"}, "ada"),
        ({"X-User": "ada"}, "ada"),
        ({"x-user": ["eve", "ada"]}, "eve"),
        ({"x-user": 7}, "7"),
        ({"x-user": ""}, ""),
    ]:
        body = json.dumps({"action": "service", "headers": headers}).encode()
        answers = {(await frontend.answer(frontend.request("/hello/x", body=body)))["sha"] for _ in range(4)}
        assert answers == {route.to(choose(route, key)).sha}
    for body in (b"{}", b"\xff no JSON", b'{"headers": []}', b'{"headers": {"x-user": []}}'):
        request_id = frontend.request("/hello/x", body=body)
        assert (await frontend.answer(request_id))["sha"] == route.to(choose(route, request_id)).sha


async def test_a_message_that_nobody_waits_for_is_split_as_well(installation, desk, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    await desk.split({old: 50, new: 50})
    await desk.routed(new)
    runner.hold = True
    route = desk.tron.deployments.table.find("", "/hello")
    asked = [frontend.request("/hello/x", wait=False) for _ in range(10)]
    await wait_until(lambda: len(runner.held) == 10)
    came = {one.properties.correlation_id: one.routing_key for one in runner.held}
    assert came == {request_id: choose(route, request_id) for request_id in asked}


async def test_shares_change_at_once_and_the_second_can_become_all(installation, desk, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    await desk.split({old: 100, new: 0})
    await desk.routed(new)
    enabled = len(runner.actions("enable"))
    now = (await desk.split({old: 0, new: 100})).json()
    assert (now["stage"], now["split"]["shares"][1]["percent"]) == ("routed", 100)
    again = (await desk.split({old: 0, new: 100})).json()
    assert again["revision"] == now["revision"]
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == new
    assert len(runner.actions("enable")) == enabled
    asked = [frontend.request("/hello/x") for _ in range(20)]
    found = (await desk.post("promote", sha=new[:8])).json()
    assert (found["sha"], found["serving"], found["split"]) == (new, new, None)
    for one in asked:
        assert (await frontend.answer(one))["sha"] in {old, new}
    await wait_until(lambda: f"func.hello.{old[:8]}" not in installation.hub.queues)
    assert (await desk.post("promote", sha=new[:8])).json()["revision"] == (await desk.shown())["revision"]
    assert [one[:3] for one in await desk.past()][-5:] == [
        ("split", "begun", new[:8]),
        ("split", "routed", new[:8]),
        ("split", "routed", old[:8]),
        ("promote", "routed", new[:8]),
        ("drain", "retired", old[:8]),
    ]


async def test_rolling_back_a_split_leaves_what_served_before(installation, desk, wait_until):
    frontend, _ = await installation.frontend(), await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    await desk.split({old: 50, new: 50})
    await desk.routed(new)
    assert (await desk.post("rollback")).json()["split"] is None
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == old
    await wait_until(lambda: f"func.hello.{new[:8]}" not in installation.hub.queues)


async def test_a_second_version_that_does_not_load_leaves_what_serves(installation, desk):
    runner = await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    runner.refuse[new] = "ImportError: nope"
    await desk.split({old: 50, new: 50})
    failed = await desk.tron.deployments.settled("hello", new, 5)
    assert (failed.stage, failed.serving.sha, failed.split) == ("failed", old, None)
    assert ("split", "failed", new[:8], "api") in await desk.past()


async def test_a_redeploy_ends_a_split(installation, desk, wait_until):
    await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    await desk.split({old: 50, new: 50})
    await desk.routed(new)
    third = await desk.deploy(3)
    found = await desk.shown()
    assert (found["split"], found["serving"]) == (None, third)
    await wait_until(lambda: not desk.tron.deployments.draining)
    assert [queue for queue in installation.hub.queues if queue.startswith("func.")] == [f"func.hello.{third[:8]}"]


async def test_splits_that_cannot_be_are_refused_with_every_reason(installation, desk):
    await installation.runner()
    missing = await desk.split({"aaaa": 50, "bbbb": 50})
    assert (missing.status_code, "there is no deployment 'hello'" in missing.json()["detail"]) == (404, True)
    old, new, other = await desk.deploy(1), await desk.store(2), await desk.store(3)
    elsewhere = await desk.store(4, path="/elsewhere")
    for shares, more, status, text in [
        ({old: 90, new: 20}, {}, 422, "the shares must be 100 in all, not 90 + 20 = 110"),
        ({old: 100}, {}, 422, "it needs two versions with different SHAs"),
        ({new: 50, other: 50}, {}, 422, "must have a share"),
        ({old: 50, elsewhere: 50}, {}, 422, "both versions must be at one host and base path"),
        ({old: 50, new: 50}, {"sticky": "header:X User"}, 422, "'x user' is no name of a header"),
        ({old: 50, new: 50}, {"rollback-above": 1.0}, 422, "the error rate must be"),
        ({old: 50, new: 50}, {"rollback-above": 0.1, "window": 0}, 422, "the window must be"),
        ({old: 50, new: 50}, {"window": 60}, 400, "'window' needs 'rollback-above'"),
        ({old: 50, new: 50}, {"sticky": "cookie"}, 400, "'sticky' must be"),
        ({old: "50", new: 50}, {}, 400, "'percent' must be a whole number"),
        ({old: 50, "01234567": 50}, {}, 404, "there is no bundle with a SHA that begins with '01234567': there is"),
        ({old: 50, "012": 50}, {}, 404, "4 digits at least"),
    ]:
        refused = await desk.split(shares, **more)
        problem = refused.json()
        told = problem["detail"] + " ".join(one["what"] for one in problem.get("errors", ()))
        assert (refused.status_code, text in told) == (status, True), told
    for body in ({"shares": 7}, {"shares": [7]}, {"shares": [{"sha": "x"}]}, {}):
        assert (await desk.api.put("/api/v2/deployments/hello/split", json=body)).status_code == 400
    assert (await desk.post("promote", sha=old)).status_code == 202  # it has all already
    not_split = await desk.post("promote", sha=new)
    assert (not_split.status_code, "hello is not split" in not_split.json()["detail"]) == (409, True)
    await desk.split({old: 50, new: 50})
    await desk.routed(new)
    assert f"there is {old[:8]} and {new[:8]}" in (await desk.post("promote", sha="0123")).json()["detail"]


# roll-back on errors


def totals(**queues):
    return {
        f"func.hello.{sha[1:]}": Totals({"answered:2xx": good, "answered:5xx": bad}, {}, {})
        for sha, (good, bad) in queues.items()
    }


async def test_a_guarded_split_ends_by_itself_when_its_new_version_fails(installation, desk, wait_until):
    frontend, _ = await installation.frontend(), await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    counted = {"old": (0, 0), "new": (0, 0)}
    desk.tron.deployments.guards.totals = lambda: totals(
        **{f"q{old[:8]}": counted["old"], f"q{new[:8]}": counted["new"]}
    )
    await desk.split({old: 50, new: 50}, **{"rollback-above": 0.05, "window": 60})
    await desk.routed(new)
    counted.update(old=(1000, 2), new=(99, 5))
    looks = []
    desk.tron.deployments.guards.clock = lambda: looks.append(1) or float(len(looks))
    await wait_until(lambda: len(looks) > 2)
    assert (await desk.shown())["split"] is not None  # 5 of 104: as good as allowed
    counted.update(new=(100, 25))
    await wait_until(lambda: desk.tron.deployments.get("hello").split is None)
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == old
    events = (await desk.api.get("/api/v2/deployments/hello/history")).json()["events"]
    (failed,) = [one for one in events if (one["what"], one["outcome"]) == ("split", "failed")]
    (back,) = [one for one in events if one["what"] == "rollback"]
    assert (failed["sha"], back["sha"], back["who"], back["outcome"]) == (new, old, "tron", "routed")
    assert "20.0% of 125 answers in 60 s were errors, more than the 5.0%" in back["detail"]
    stages = (await desk.shown())["stages"]
    assert any((stage["detail"] or "").startswith("the split ended by itself: 20.0%") for stage in stages)
    await wait_until(lambda: f"func.hello.{new[:8]}" not in installation.hub.queues)


# crashes


async def test_a_tron_that_was_killed_while_a_split_was_loading_brings_it_about(installation, bundle, wait_until):
    runner = await installation.runner()
    async with installation.tron(kill=True) as tron, installation.client(tron) as api:
        desk = Desk(tron, api, bundle)
        old, new = await desk.deploy(1), await desk.store(2)
        runner.silent = True
        await desk.split({old: 70, new: 30}, sticky="header:X-User", **{"rollback-above": 0.5})
    runner.silent = False
    async with installation.tron() as tron, installation.client(tron) as api:
        desk = Desk(tron, api, bundle)
        await wait_until(lambda: tron.deployments.get("hello").split)
        found = await desk.shown()
        assert [(one["sha"], one["percent"]) for one in found["split"]["shares"]] == [(old, 70), (new, 30)]
        assert (found["split"]["sticky"], found["split"]["rollback-above"]) == ("header:x-user", 0.5)
        assert (await desk.past())[-1][:2] == ("split", "routed")


async def test_a_tron_that_was_killed_while_it_rolled_back_goes_on_for_the_one_who_asked(
    installation, bundle, wait_until
):
    runner = await installation.runner()
    async with installation.tron(kill=True) as tron, installation.client(tron) as api:
        desk = Desk(tron, api, bundle)
        old = await desk.deploy(1)
        await desk.deploy(2)
        await wait_until(lambda: not tron.deployments.draining)
        runner.silent = True
        path = "/api/v2/deployments/hello/rollback"
        await api.post(path, json={"ready-within": 3000}, headers={"x-funcatron-user": "ann@laptop"})
    async with installation.tron() as tron, installation.client(tron) as api:
        desk = Desk(tron, api, bundle)
        assert tron.deployments.rollouts.loading["hello"].limit == 3000
        runner.silent = False
        runner.hear(runner.actions("enable")[-1])
        await desk.routed(old)
        assert (await desk.past())[-1] == ("rollback", "routed", old[:8], "ann@laptop")


async def test_a_tron_that_was_killed_while_a_split_served_goes_on_with_it_and_guards_it(
    installation, bundle, wait_until
):
    frontend, _ = await installation.frontend(), await installation.runner()
    async with installation.tron(kill=True) as tron, installation.client(tron) as api:
        desk = Desk(tron, api, bundle)
        old, new = await desk.deploy(1), await desk.store(2)
        await desk.split({old: 50, new: 50}, **{"rollback-above": 0.05})
        await desk.routed(new)
    async with installation.tron() as tron:
        route = tron.deployments.table.find("", "/hello")
        for _ in range(20):
            request_id = frontend.request("/hello/x")
            assert (await frontend.answer(request_id))["sha"] == route.to(choose(route, request_id)).sha
        tron.deployments.guards.totals = lambda: totals(**{f"q{old[:8]}": (9, 0), f"q{new[:8]}": (0, counted[0])})
        counted = [0]
        looks = []
        tron.deployments.guards.clock = lambda: looks.append(1) or float(len(looks))
        await wait_until(lambda: len(looks) > 1)
        counted[0] = 9
        await wait_until(lambda: tron.deployments.get("hello").split is None)


@pytest.mark.parametrize("made", [True, False], ids=["it was made", "it was not made"])
async def test_a_change_of_which_the_registry_did_not_say_what_became_is_found_out(
    installation, desk, monkeypatch, wait_until, made
):
    frontend, _ = await installation.frontend(), await installation.runner()
    await desk.deploy(1)
    sha = await desk.store(2)
    apply, failing = desk.tron.deployments.registry.apply, [True]

    async def lost(change):
        if not failing:
            return await apply(change)
        failing.clear()
        if made:
            await apply(change)
        raise StoreError("the Registry was lost while it committed: whether the change was made is not known")

    monkeypatch.setattr(desk.tron.deployments.registry, "apply", lost)
    assert (await desk.put(sha)).status_code == 503
    if not made:
        assert (await desk.put(sha)).status_code == 202
    await wait_until(lambda: desk.tron.deployments.get("hello").wanted.sha == sha)
    await desk.routed(sha)
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha


async def test_a_step_of_the_tron_itself_is_made_again_until_the_registry_has_taken_it(installation, desk, monkeypatch):
    runner = await installation.runner()
    runner.silent = True
    sha = await desk.store(1)
    await desk.put(sha)
    apply, tries = desk.tron.deployments.registry.apply, []

    async def lost(change):
        tries.append(change)
        if len(tries) == 1:
            await apply(change)
            raise StoreError("the Registry was lost while it committed: whether the change was made is not known")
        return await apply(change)

    monkeypatch.setattr(desk.tron.deployments.registry, "apply", lost)
    runner.silent = False
    runner.hear(runner.actions("enable")[-1])
    await desk.routed(sha)
    assert [one[:2] for one in await desk.past()] == [("deploy", "begun"), ("deploy", "routed")]
