"""What becomes of deployments: seen through the admin API, with a played Runner and Frontend."""

from __future__ import annotations

import hashlib


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def put(client, data, name="hello", **more):
    stored = await client.post("/api/v2/bundles", content=data)
    assert stored.status_code in {200, 201}, stored.text
    return await client.put(f"/api/v2/deployments/{name}", json={"sha": stored.json()["sha"], **more})


async def shown(client, name="hello"):
    return (await client.get(f"/api/v2/deployments/{name}")).json()


async def test_a_stored_bundle_serves_once_a_runner_has_loaded_it(installation, tron, client, bundle):
    frontend, _ = await installation.frontend(), await installation.runner()
    data = bundle()
    begun = await put(client, data)
    assert begun.status_code == 202
    assert begun.json()["stage"] == "loading"
    await tron.deployments.settled("hello", sha_of(data), 5)
    found = await shown(client)
    assert found["stage"] == "routed"
    assert [one["stage"] for one in found["stages"]] == ["stored", "validated", "loading", "serving", "routed"]
    assert found["runners"] == [{"id": "r1", "sha": sha_of(data), "stage": "serving", "error": None}]
    answer = await frontend.answer(frontend.request("/hello/greet"))
    assert answer["sha"] == sha_of(data)
    assert frontend.routes == [(None, "/hello", sha_of(data))]


async def test_what_nobody_serves_gets_a_404_problem_with_the_request_id(installation, tron):
    frontend = await installation.frontend()
    request_id = frontend.request("/nowhere")
    answer = await frontend.answer(request_id)
    assert answer["request-id"] == request_id
    assert answer["answer"]["status"] == 404
    assert request_id in answer["answer"]["body"]
    assert tron.counters.unrouted == 1


async def test_without_a_runner_a_deployment_says_that_it_waits_and_serves_when_one_comes(
    installation, tron, client, bundle, wait_until
):
    data = bundle()
    await put(client, data)
    found = await shown(client)
    assert found["stage"] == "loading"
    assert found["detail"] == "waiting for a Runner: none is connected"
    await installation.runner()
    assert (await tron.deployments.settled("hello", sha_of(data), 5)).stage == "routed"


async def test_without_a_runner_a_deployment_fails_in_the_end_and_says_what_to_do(installation, bundle):
    installation.limits = type(installation.limits)(load=0.05, tick=0.01)
    async with installation.tron() as tron, installation.client(tron) as client:
        data = bundle()
        await put(client, data)
        failed = await tron.deployments.settled("hello", sha_of(data), 5)
        assert failed.stage == "failed"
        assert "no Runner was connected within 0.05 s: start one" in str(failed.error)


async def test_a_bundle_that_fails_to_load_leaves_what_served_before(installation, tron, client, bundle, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    old, new = bundle(n=1), bundle(n=2)
    await put(client, old)
    await tron.deployments.settled("hello", sha_of(old), 5)
    runner.refuse[sha_of(new)] = "ImportError: no module named nope"
    await put(client, new)
    failed = await tron.deployments.settled("hello", sha_of(new), 5)
    assert failed.stage == "failed"
    assert failed.error == "ImportError: no module named nope"
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha_of(old)
    await wait_until(lambda: not tron.deployments.draining)
    assert sorted(installation.hub.queues) == sorted(
        [*(q.name for q in _base()), tron.follower.queue, frontend.queue, runner.queue, f"func.hello.{sha_of(old)[:8]}"]
    )


async def test_one_runner_that_serves_is_enough_and_the_failure_of_others_is_shown(
    installation, tron, client, bundle, wait_until
):
    data = bundle()
    await installation.runner("bad", refuse={sha_of(data): "wrong Python"})
    slow = await installation.runner("good", silent=True)
    await wait_until(lambda: len(tron.peers.of("runner")) == 2)
    await put(client, data)
    await wait_until(
        lambda: "hello" in tron.deployments.rollouts.loading and tron.deployments.rollouts.loading["hello"].said
    )
    assert "1 Runner loading it; failed: wrong Python" in (await shown(client))["detail"]
    slow.silent = False
    slow.hear(slow.actions("enable")[0])
    assert (await tron.deployments.settled("hello", sha_of(data), 5)).stage == "routed"
    runners = {one["id"]: (one["stage"], one["error"]) for one in (await shown(client))["runners"]}
    assert runners == {"bad": ("failed", "wrong Python"), "good": ("serving", None)}


async def test_a_redeploy_switches_and_the_old_queue_goes_with_nothing_lost(
    installation, tron, client, bundle, wait_until
):
    frontend, runner = await installation.frontend(), await installation.runner()
    old, new = bundle(n=1), bundle(n=2)
    await put(client, old)
    await tron.deployments.settled("hello", sha_of(old), 5)
    runner.hold = True  # requests pile up in the Runner and in the old queue
    asked = [frontend.request("/hello/x") for _ in range(25)]
    await wait_until(lambda: len(runner.held) == 10)
    await put(client, new)
    await tron.deployments.settled("hello", sha_of(new), 5)
    runner.hold = False
    for delivery in runner.held:
        runner._serve(delivery, sha_of(old))
    answers = [(await frontend.answer(one))["sha"] for one in asked]
    assert set(answers) <= {sha_of(old), sha_of(new)}
    await wait_until(lambda: not tron.deployments.draining)
    assert f"func.hello.{sha_of(old)[:8]}" not in installation.hub.queues
    assert (await shown(client))["stages"][-1]["stage"] == "drained"


async def test_a_taken_host_and_base_path_is_refused_naming_the_owner(installation, tron, client, bundle):
    await installation.runner()
    await put(client, bundle())
    refused = await put(client, bundle("other"), "other")
    assert refused.status_code == 409
    assert "any host/hello belongs to the deployment hello" in refused.json()["detail"]
    assert (await put(client, bundle("other", host="Example.com:80"), "other")).status_code == 202


async def test_a_second_deploy_while_one_is_under_way_is_refused_with_its_stage(tron, client, bundle):
    await put(client, bundle(n=1))
    assert (await put(client, bundle(n=1))).status_code == 202  # the same again is no other
    refused = await put(client, bundle(n=2))
    assert refused.status_code == 409
    assert "stage loading" in refused.json()["detail"]


async def test_undeploying_takes_routes_away_first_then_the_queue_then_the_name(
    installation, tron, client, bundle, wait_until
):
    frontend, _ = await installation.frontend(), await installation.runner()
    data = bundle()
    await put(client, data)
    await tron.deployments.settled("hello", sha_of(data), 5)
    gone = await client.delete("/api/v2/deployments/hello")
    assert gone.status_code == 202
    assert (await frontend.answer(frontend.request("/hello/x")))["answer"]["status"] == 404
    await wait_until(lambda: "hello" not in tron.deployments.all)
    assert (await client.get("/api/v2/deployments/hello")).status_code == 404
    assert f"func.hello.{sha_of(data)[:8]}" not in installation.hub.queues
    past = (await client.get("/api/v2/deployments/hello/history")).json()["events"]
    assert [(one["what"], one["outcome"]) for one in past][::-1] == [
        ("deploy", "begun"),
        ("deploy", "routed"),
        ("undeploy", "begun"),
        ("drain", "retired"),
        ("undeploy", "retired"),
    ]
    await wait_until(lambda: frontend.routes == [])


async def test_undeploying_what_is_still_loading_ends_that(tron, client, bundle, wait_until):
    await put(client, bundle())
    await client.delete("/api/v2/deployments/hello")
    await wait_until(lambda: "hello" not in tron.deployments.all)
    assert (await put(client, bundle(n=2))).status_code == 202


async def test_new_properties_of_the_same_sha_reach_the_runner_and_wait_for_its_word(
    installation, tron, client, bundle
):
    runner = await installation.runner()
    data = bundle()
    await put(client, data)
    await tron.deployments.settled("hello", sha_of(data), 5)
    await put(client, data, props={"color": "blue"})
    found = await tron.deployments.settled("hello", sha_of(data), 5)
    assert found.stage == "routed"
    assert runner.actions("enable")[-1]["props"] == {"color": "blue"}
    assert not tron.deployments.draining


async def test_a_tron_that_starts_again_knows_and_routes_everything(installation, bundle):
    frontend, runner = await installation.frontend(), await installation.runner()
    data = bundle()
    async with installation.tron(kill=True) as tron, installation.client(tron) as client:
        await put(client, data, props={"a": 1})
        await tron.deployments.settled("hello", sha_of(data), 5)
        version = tron.deployments.table.version
    asked = frontend.request("/hello/x")  # while there is no Tron
    async with installation.tron() as tron:
        assert (await frontend.answer(asked))["sha"] == sha_of(data)
        assert tron.deployments.table.version == version
        assert tron.deployments.all["hello"].wanted.props == {"a": 1}
        assert runner.actions("all-bundles")[-1]["bundles"][0]["props"] == {"a": 1}


async def test_a_tron_that_was_killed_while_loading_goes_on(installation, bundle, wait_until):
    data = bundle()
    async with installation.tron(kill=True) as tron, installation.client(tron) as client:
        await put(client, data)
    async with installation.tron() as tron:
        await installation.runner()
        assert (await tron.deployments.settled("hello", sha_of(data), 5)).stage == "routed"


async def test_a_tron_that_was_killed_while_draining_goes_on(installation, bundle, wait_until):
    runner = await installation.runner()
    data = bundle()
    async with installation.tron(kill=True) as tron, installation.client(tron) as client:
        await put(client, data)
        await tron.deployments.settled("hello", sha_of(data), 5)
        await client.delete("/api/v2/deployments/hello")
    async with installation.tron() as tron:
        await wait_until(lambda: not tron.deployments.all)
        assert runner.serving == {}


async def test_a_runner_known_by_its_heartbeat_alone_is_told_everything(installation, tron, client, bundle, wait_until):
    runner = await installation.runner()
    await wait_until(lambda: tron.peers.of("runner"))
    tron.peers.gone("r1")
    runner.heard.clear()
    runner.say("heartbeat")
    await wait_until(lambda: runner.actions("all-bundles"))


async def test_the_broker_coming_back_makes_the_tron_say_everything_again(installation, tron, wait_until):
    frontend = await installation.frontend()
    await wait_until(lambda: frontend.actions("route"))
    frontend.heard.clear()
    tron.broker.cut()
    await wait_until(lambda: frontend.actions("route") and frontend.actions("resend-awake"))


def _base():
    from funcatron.message import topology

    return topology.queues()
