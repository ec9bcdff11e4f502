"""What calls of /api/v2 have in common: revisions, idempotency keys, pages, who asks; scaling, Trons and Runners."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time

import httpx
import pytest
import pytest_asyncio

from funcatron.errors import NotLeader, StoreError
from funcatron.stores.scaling import Decision
from tests.unit.tron.document import check

PATH = "/api/v2/deployments/hello"


@pytest_asyncio.fixture
async def api(installation, tron):
    """A client whose answers are held to the API's document."""
    async with installation.client(tron, event_hooks={"response": [check]}) as made:
        yield made


@pytest_asyncio.fixture
async def shas(installation, tron, api, bundle):
    """A deployment that serves the first of two stored bundles."""
    await installation.runner()
    made = []
    for number in (1, 2):
        data = bundle(n=number)
        assert (await api.post("/api/v2/bundles", content=data)).status_code == 201
        made.append(hashlib.sha256(data).hexdigest())
    await api.put(PATH, json={"sha": made[0]})
    await tron.deployments.settled("hello", made[0], 5)
    return made


def key(text="k-1"):
    return {"idempotency-key": text}


# revisions


async def test_a_change_is_made_to_the_revision_that_was_read_or_not_at_all(tron, api, shas):
    seen = (await api.get(PATH)).headers["etag"]
    assert seen == f'"{tron.deployments.get("hello").revision}"'
    changed = await api.put(PATH, json={"sha": shas[0], "props": {"a": 1}}, headers={"if-match": seen})
    assert changed.status_code == 202
    assert changed.headers["etag"] != seen
    await tron.deployments.settled("hello", shas[0], 5)
    before = tron.deployments.get("hello")
    for method, path, body in [
        ("PUT", PATH, {"sha": shas[1]}),
        ("DELETE", PATH, None),
        ("POST", f"{PATH}/rollback", {}),
        ("POST", f"{PATH}/promote", {"sha": shas[0]}),
        ("PUT", f"{PATH}/split", {"shares": [{"sha": sha, "percent": 50} for sha in shas]}),
    ]:
        refused = await api.request(method, path, json=body, headers={"if-match": seen})
        assert refused.status_code == 412, path
        assert f"hello is at revision {before.revision}, and the change is for revision" in refused.json()["detail"]
    assert tron.deployments.get("hello") == before


@pytest.mark.parametrize("match", ["*", '"999", {}', "{}"])
async def test_any_of_several_revisions_or_of_all_will_do(api, shas, match):
    now = (await api.get(PATH)).headers["etag"]
    assert (await api.put(PATH, json={"sha": shas[1]}, headers={"if-match": match.format(now)})).status_code == 202


@pytest.mark.parametrize("match", ['W/"{}"', '"x"', '""', '"-1"', '"99999999999999999999"'])
async def test_a_tag_that_is_none_of_ours_matches_nothing(tron, api, shas, match):
    match = match.format(tron.deployments.get("hello").revision)
    assert (await api.put(PATH, json={"sha": shas[1]}, headers={"if-match": match})).status_code == 412


async def test_what_is_no_entity_tag_is_a_400(api, shas):
    for match in ("5", "abc", '"5', ""):
        assert (await api.put(PATH, json={"sha": shas[1]}, headers={"if-match": match})).status_code == 400


async def test_a_deployment_can_be_made_sure_to_be_new_or_to_be_there(api, shas):
    new, there = {"if-none-match": "*"}, {"if-match": "*"}
    assert (await api.put(PATH, json={"sha": shas[1]}, headers=new)).status_code == 412
    assert (await api.put("/api/v2/deployments/other", json={"sha": shas[1]}, headers=there)).status_code == 412
    refused = await api.put("/api/v2/deployments/other", json={"sha": shas[1]}, headers={"if-match": '"1"'})
    assert (refused.status_code, "there is no deployment 'other'" in refused.json()["detail"]) == (412, True)
    # it may be new, but its path is another's
    assert (await api.put("/api/v2/deployments/other", json={"sha": shas[1]}, headers=new)).status_code == 409


# idempotency keys


async def test_a_change_that_is_sent_twice_is_made_once_and_answered_alike(tron, api, shas, wait_until):
    await api.put(PATH, json={"sha": shas[1]})
    await tron.deployments.settled("hello", shas[1], 5)
    await wait_until(lambda: not tron.deployments.draining)
    first = await api.post(f"{PATH}/rollback", headers=key())
    assert (first.status_code, first.json()["sha"]) == (202, shas[0])
    await tron.deployments.settled("hello", shas[0], 5)
    second = await api.post(f"{PATH}/rollback", headers=key())  # would go forward again
    assert second.content == first.content
    assert (second.status_code, second.headers["idempotency-replayed"]) == (202, "true")
    assert "idempotency-replayed" not in first.headers
    assert tron.deployments.get("hello").wanted.sha == shas[0]


async def test_a_key_is_good_for_one_request_only(api, shas):
    assert (await api.put(PATH, json={"sha": shas[0]}, headers=key())).status_code == 202
    for other in (
        await api.put(PATH, json={"sha": shas[1]}, headers=key()),
        await api.put(f"{PATH}x", json={"sha": shas[0]}, headers=key()),
        await api.delete(PATH, headers=key()),
        await api.put(PATH, json={"sha": shas[0]}, headers={**key(), "if-match": "*"}),
    ):
        assert other.status_code == 409
        assert "was used for another request" in other.json()["detail"]
    for wrong in ("", "x" * 256):
        assert (await api.put(PATH, json={"sha": shas[0]}, headers=key(wrong))).status_code == 400


async def test_what_was_refused_may_be_sent_again_with_the_same_key(api, shas):
    stale = {**key(), "if-match": '"0"'}
    assert (await api.put(PATH, json={"sha": shas[1]}, headers=stale)).status_code == 412
    assert (await api.put(PATH, json={"sha": shas[1]}, headers=stale)).status_code == 412
    assert (await api.put(PATH, json={"sha": shas[1]}, headers=key())).status_code == 202


async def test_while_a_request_is_worked_on_its_twin_is_refused(tron, api, shas, monkeypatch):
    deploy, begun, go_on = tron.deployments.deploy, asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        begun.set()
        await go_on.wait()
        return await deploy(*arguments)

    monkeypatch.setattr(tron.deployments, "deploy", slow)
    first = asyncio.ensure_future(api.put(PATH, json={"sha": shas[1]}, headers=key()))
    await begun.wait()
    twin = await api.put(PATH, json={"sha": shas[1]}, headers=key())
    go_on.set()
    assert (twin.status_code, "is being worked on" in twin.json()["detail"]) == (409, True)
    assert (await first).status_code == 202


async def test_a_change_that_was_made_is_answered_though_its_key_cannot_be_kept(tron, api, shas, monkeypatch, caplog):
    async def away(*_):
        raise StoreError("the Registry did not answer in time")

    monkeypatch.setattr(tron.registry, "end_request", away)
    assert (await api.put(PATH, json={"sha": shas[1]}, headers=key())).status_code == 202
    assert "could not be kept under its idempotency key" in caplog.text


async def test_a_tron_that_leads_no_more_says_when_to_ask_again(tron, api, shas, monkeypatch):
    async def over(*_):
        raise NotLeader("this Tron's epoch 1 is over")

    monkeypatch.setattr(tron.deployments.registry, "apply", over)
    refused = await api.put(PATH, json={"sha": shas[1]})
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)


# pages


async def pages(api, path, name):
    """Go through a list as the header Link says."""
    found, sizes = [], []
    while path is not None:
        response = await api.get(path)
        body = response.json()
        found += body[name]
        sizes.append(len(body[name]))
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("link", ""))
        assert ("next" in body) == bool(link)
        path = link[1] if link else None
    return found, sizes


async def test_lists_come_in_pages_each_of_which_says_where_the_next_is(tron, api, bundle):
    names = [f"d{number}" for number in range(5)]
    for name in names:
        stored = await api.post("/api/v2/bundles", content=bundle(name, path=f"/{name}"))
        await api.put(f"/api/v2/deployments/{name}", json={"sha": stored.json()["sha"]})
    found, sizes = await pages(api, "/api/v2/deployments?limit=2", "deployments")
    assert ([one["name"] for one in found], sizes) == (names, [2, 2, 1])
    found, sizes = await pages(api, "/api/v2/bundles?limit=5", "bundles")
    assert (len({one["sha"] for one in found}), sizes) == (5, [5])
    found, sizes = await pages(api, "/api/v2/history?limit=3", "events")
    assert (len({one["id"] for one in found}), sizes) == (5, [3, 2])
    found, sizes = await pages(api, "/api/v2/deployments/d1/history?limit=1", "events")
    assert [one["what"] for one in found] == ["deploy"]


@pytest.mark.parametrize("path", ["bundles", "deployments", "history", "decisions", "deployments/hello/history"])
async def test_a_cursor_or_a_limit_that_is_none_is_a_400(api, shas, path):
    for query in ("cursor=nope", "limit=0", "limit=1001", "limit=x"):
        refused = await api.get(f"/api/v2/{path}?{query}")
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json"), query


async def test_an_unknown_name_is_a_404_that_offers_the_nearest(api, shas):
    for method, path in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("GET", "/versions"),
        ("GET", "/scaling"),
        ("GET", "/decisions"),
        ("POST", "/rollback"),
    ]:
        missing = await api.request(method, f"/api/v2/deployments/helo{path}")
        assert missing.status_code == 404
        assert "there is no deployment 'helo'; did you mean 'hello'?" in missing.json()["detail"], path


# who asks


async def test_who_asks_is_in_the_history(tron, api, shas, wait_until):
    mine = {"x-funcatron-user": "ann@laptop"}
    await api.put(PATH, json={"sha": shas[1], "props": {"password": "hunter2", "color": "red"}}, headers=mine)
    await tron.deployments.settled("hello", shas[1], 5)
    await wait_until(lambda: not tron.deployments.draining)
    await api.put(f"{PATH}/scaling", json={"max": 3}, headers={"x-funcatron-user": "b\x07ob" + "x" * 300})
    found = (await api.get(f"{PATH}/history")).json()["events"]
    assert [(one["what"], one["who"]) for one in found] == [
        ("scale", ("bob" + "x" * 300)[:200]),
        ("drain", "tron"),
        ("deploy", "ann@laptop"),
        ("deploy", "ann@laptop"),
        ("deploy", "api"),
        ("deploy", "api"),
    ]
    assert found[2]["props"]["color"] == "red"
    assert "hunter2" not in str(found)


# scaling


async def test_scaling_is_set_as_a_whole_under_its_own_revision(api, shas):
    nothing = await api.get(f"{PATH}/scaling")
    assert nothing.json() == dict.fromkeys(("min", "max", "target-wait", "warm", "idle")) | {"revision": 0}
    wanted = {"min": 0, "max": 20, "target-wait": 0.1}
    made = await api.put(f"{PATH}/scaling", json=wanted, headers={"if-match": nothing.headers["etag"]})
    assert made.json() == wanted | {"warm": None, "idle": None, "revision": 1}
    stale = await api.put(f"{PATH}/scaling", json={"max": 5}, headers={"if-match": nothing.headers["etag"]})
    assert (stale.status_code, "at revision 1" in stale.json()["detail"]) == (412, True)
    assert (await api.put(f"{PATH}/scaling", json={"max": 5, "min": None})).json()["revision"] == 2
    assert (await api.get(f"{PATH}/scaling")).json()["min"] is None


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"min": 3, "max": 2}, 422, "min 3 is over max 2"),
        ({"warm": 3, "max": 2}, 422, "warm 3 is over max 2"),
        ({"min": -1, "idle": 0}, 422, "min must be a whole number from 0"),
        ({"min": 1.5}, 400, "'min' must be a whole number"),
        ({"min": True}, 400, "'min' must be a whole number"),
        ({"target-wait": "1"}, 400, "'target-wait' must be a number"),
        ({"minimum": 1}, 400, "unknown members: minimum"),
    ],
)
async def test_scaling_that_cannot_be_is_refused_with_the_reason(api, shas, body, status, text):
    refused = await api.put(f"{PATH}/scaling", json=body)
    problem = refused.json()
    told = problem["detail"] + " ".join(one["what"] for one in problem.get("errors", ()))
    assert (refused.status_code, text in told) == (status, True), told


async def test_decisions_are_told_in_pages_and_to_who_watches_those_that_are_new(tron, api, shas):
    for number in range(3):
        one = Decision(time.time(), "hello", shas[0], {"ready": number, "rate": None}, {"instances": number}, "why")
        other = Decision(time.time(), "other", shas[1], {}, {}, "another")
        await tron.registry.add_decisions([one, other])
    found, sizes = await pages(api, f"{PATH}/decisions?limit=2", "decisions")
    assert ([one["inputs"]["ready"] for one in found], sizes) == ([2, 1, 0], [2, 1])
    assert found[0]["why"] == "why"
    assert found[0]["outputs"] == {"instances": 2}
    assert len((await api.get("/api/v2/decisions")).json()["decisions"]) == 6
    after = (await api.get(f"{PATH}/decisions", params={"after": found[2]["id"]})).json()["decisions"]
    assert [one["inputs"]["ready"] for one in after] == [1, 2]
    for wrong in ("x", "-1", "9" * 30):
        assert (await api.get(f"{PATH}/decisions", params={"after": wrong})).status_code == 400


# Trons and Runners


async def test_the_tron_that_leads_is_listed_with_its_epoch(tron, api):
    (only,) = (await api.get("/api/v2/trons")).json()["trons"]
    assert (only["id"], only["leads"], only["url"]) == (tron.id, True, "http://127.0.0.1:3000")
    assert only["epoch"] == tron.registry.epoch


async def test_runners_are_listed_with_what_they_serve(tron, api, shas):
    (only,) = (await api.get("/api/v2/runners")).json()["runners"]
    assert (only["id"], only["info"]["hostname"], only["figures"]) == ("r1", "test", None)
    assert only["bundles"] == [
        {"queue": f"func.hello.{shas[0][:8]}", "sha": shas[0], "stage": "serving", "error": None}
    ]
    assert (await api.get("/api/v2/runners/r1")).json() == only


async def test_an_unknown_runner_is_a_404_that_offers_the_nearest(api, shas):
    for call in (api.get("/api/v2/runners/r2"), api.post("/api/v2/runners/r2/drain")):
        missing = await call
        assert missing.status_code == 404
        assert "there is no runner 'r2'" in missing.json()["detail"]
    assert "did you mean 'r1'" in (await api.get("/api/v2/runners/r11")).json()["detail"]


async def test_draining_a_runner_is_handed_on(tron, api, shas, monkeypatch):
    drained = []

    async def drain(runner):
        drained.append(runner)

    monkeypatch.setattr(tron, "drain_runner", drain)
    assert (await api.post("/api/v2/runners/r1/drain")).status_code == 202
    assert drained == ["r1"]


async def test_a_deployment_whose_hosts_crash_in_a_loop_says_why(installation, tron, api, shas, wait_until):
    assert (await api.get(PATH)).json()["parked"] is None
    runner = installation.played[0]
    queue = f"func.hello.{shas[0][:8]}"
    runner.say("heartbeat", funcs=[{"queue": queue, "sha": shas[0], "state": "crashing"}])
    await wait_until(lambda: tron.peers.get("r1").loaded[queue].stage == "crashing")
    assert "its hosts end again and again" in (await api.get(PATH)).json()["parked"]
    why = "exit status 3: no module named nope"
    runner.say("heartbeat", funcs=[{"queue": queue, "sha": shas[0], "state": "crashing", "reason": why}])
    await wait_until(lambda: tron.peers.get("r1").loaded[queue].error)
    assert (await api.get(PATH)).json()["parked"] == f"{why} (on r1)"
    runner.say("heartbeat", funcs=[{"queue": queue, "sha": shas[0], "state": "serving"}])
    await wait_until(lambda: tron.peers.get("r1").loaded[queue].stage == "serving")
    assert (await api.get(PATH)).json()["parked"] is None


async def test_the_figures_are_as_the_document_says(api, shas):
    assert (await api.get("/api/v2/stats")).status_code == 200
    assert (await api.get("/api/v2/status")).status_code == 200
    assert (await api.get("/api/v2/routes")).status_code == 200


async def test_every_answer_is_held_to_the_document(api):
    with pytest.raises(AssertionError, match="does not know PATCH"):
        await api.patch("/api/v2/status")
    with pytest.raises(AssertionError, match="does not know /api/v2/nope"):
        await check(httpx.Response(200, request=httpx.Request("GET", "http://x/api/v2/nope")))
