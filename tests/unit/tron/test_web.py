"""The admin API: the original's calls, the fuller ones, errors, and who may use it."""

from __future__ import annotations

import hashlib
import socket

import pytest
import yaml
from openapi_spec_validator import validate
from pydantic import SecretStr

from funcatron.errors import SettingsError
from funcatron.settings import Settings
from funcatron.tron.web import metrics, pages, v1, v2
from funcatron.tron.web.app import create_app
from funcatron.tron.web.guard import guard_for, is_loopback

TOKEN = "a-long-random-secret"


def sha_of(data):
    return hashlib.sha256(data).hexdigest()


# the original's calls


async def test_the_original_s_scripts_work_add_func_then_enable_then_disable(installation, tron, client, bundle):
    frontend, _ = await installation.frontend(), await installation.runner()
    data = bundle()
    form = {"content-type": "application/x-www-form-urlencoded"}  # what wget --post-file sends
    added = await client.post("/api/v1/add_func", content=data, headers=form)
    assert added.status_code == 200
    assert added.json() == {
        "accepted": True,
        "type": "python",
        "host": None,
        "route": "/hello",
        "swagger": {"swagger": "2.0"},
        "sha": sha_of(data),
    }
    known = (await client.get("/api/v1/known_funcs")).json()
    assert known == {"func-bundles": [{"sha": sha_of(data), "host": None, "path": "/hello"}]}
    assert (await client.get("/api/v1/routes")).json() == []
    enabled = await client.post("/api/v1/enable", json={"sha": sha_of(data), "props": {"k": "v"}}, headers=form)
    assert enabled.status_code == 200
    assert enabled.json()["success"] is True
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha_of(data)
    (route,) = (await client.get("/api/v1/routes")).json()
    assert (route["host"], route["path"], route["queue"]) == (None, "/hello", f"func.hello.{sha_of(data)[:8]}")
    disabled = await client.post("/api/v1/disable", json={"sha": sha_of(data)})
    assert disabled.json()["success"] is True
    assert (await client.get("/api/v1/routes")).json() == []
    assert (await client.get("/api/v1/known_funcs")).json() == known
    again = await client.post("/api/v1/enable", json={"sha": sha_of(data)})
    assert again.json()["success"] is True
    assert len((await client.get("/api/v1/routes")).json()) == 1


async def test_enabling_a_newer_bundle_of_the_same_name_replaces_the_older(installation, client, bundle):
    await installation.runner()
    for n in (1, 2):
        data = bundle(n=n)
        await client.post("/api/v1/add_func", content=data)
        assert (await client.post("/api/v1/enable", json={"sha": sha_of(data)})).status_code == 200
    (route,) = (await client.get("/api/v1/routes")).json()
    assert route["sha"] == sha_of(bundle(n=2))
    gone = await client.post("/api/v1/disable", json={"sha": sha_of(bundle(n=1))})
    assert gone.json() == {"success": True, "msg": f"Func bundle sha {sha_of(bundle(n=1))} is not enabled"}


async def test_a_bundle_that_fails_to_load_makes_enable_fail_with_the_reason(installation, client, bundle):
    data = bundle()
    await installation.runner(refuse={sha_of(data): "app.greet was not found; found: app.meet"})
    await client.post("/api/v1/add_func", content=data)
    failed = await client.post("/api/v1/enable", json={"sha": sha_of(data)})
    assert failed.status_code == 400
    assert failed.json() == {"success": False, "error": "app.greet was not found; found: app.meet"}


async def test_without_a_runner_enable_says_that_it_will_serve(client, bundle):
    await client.post("/api/v1/add_func", content=bundle())
    enabled = await client.post("/api/v1/enable", json={"sha": sha_of(bundle())})
    assert enabled.status_code == 200
    assert "once a Runner has loaded it" in enabled.json()["msg"]


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff a JPEG", b'{"problems": ["paths is missing"]}'])
async def test_what_is_no_bundle_is_not_accepted_and_says_why(installation, client, data):
    refused = await client.post("/api/v1/add_func", content=data)
    assert refused.status_code == 400
    assert refused.json()["accepted"] is False
    assert "paths is missing" in refused.json()["error"] or "no bundle" in refused.json()["error"]
    assert list((installation.data / "blobs" / "incoming").iterdir()) == []
    assert list((installation.data / "blobs" / "bundles").iterdir()) == []


@pytest.mark.parametrize("call", ["enable", "disable"])
async def test_an_unknown_sha_is_a_404_and_a_broken_body_a_400(client, call):
    unknown = await client.post(f"/api/v1/{call}", json={"sha": "0" * 64})
    assert unknown.status_code == 404
    assert unknown.json() == {"success": False, "error": f"Could not find Func bundle with SHA: {'0' * 64}"}
    for body in (b"", b"{", b"[]", b"{}", b'{"sha": 7}'):
        broken = await client.post(f"/api/v1/{call}", content=body)
        assert broken.status_code == 400
        assert broken.json()["success"] is False


async def test_a_bundle_s_bytes_come_back(client, bundle):
    await client.post("/api/v1/add_func", content=bundle())
    got = await client.get(f"/api/v1/bundle/{sha_of(bundle())}")
    assert got.content == bundle()
    assert got.headers["content-length"] == str(len(bundle()))
    assert (await client.head(f"/api/v1/bundle/{sha_of(bundle())}")).headers["etag"] == f'"{sha_of(bundle())}"'
    for sha in ("0" * 64, "..%2f..%2fetc%2fpasswd", "x"):
        assert (await client.get(f"/api/v1/bundle/{sha}")).status_code == 404


async def test_statsd_can_be_switched_on_and_stays_on_over_a_restart(installation):
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.settimeout(5)
    port = listener.getsockname()[1]
    async with installation.tron() as tron, installation.client(tron) as client:
        assert (await client.get("/api/v1/stats")).json()["statsd"]["enable"] is False
        on = await client.post("/api/v1/stats", json={"enable": True, "host": "127.0.0.1", "port": port})
        assert on.json() == {"success": True, "msg": "StatsD is on"}
    async with installation.tron() as tron, installation.client(tron) as client:
        tron.counters.queues["func.hello.abababab"] += 3
        tron.statsd.send(tron.counters.as_json(), {"runners": 2})
        assert listener.recv(2000) == b"funcatron.tron.dispatched:3|c\nfuncatron.tron.runners:2|g"
        stats = (await client.get("/api/v1/stats")).json()
        assert stats["statsd"] == {"enable": True, "host": "127.0.0.1", "port": port}
        assert stats["route-map"] == []
        await client.post("/api/v1/stats", json={"enable": False})
        assert tron.statsd.target is None
        for wrong in ({"enable": 1}, {"enable": True, "port": 0}, {"enable": True, "host": "no such host"}):
            assert (await client.post("/api/v1/stats", json=wrong)).status_code == 400
    listener.close()


async def test_stats_show_who_is_there(installation, tron, client, wait_until):
    await installation.frontend()
    await wait_until(lambda: tron.peers.of("frontend"))
    network = (await client.get("/api/v1/stats")).json()["network"]
    assert network["f1"]["type"] == "frontend"


# the fuller calls


async def test_a_stored_bundle_is_shown_by_the_beginning_of_its_sha(client, bundle):
    stored = await client.post("/api/v2/bundles", content=bundle())
    assert stored.status_code == 201
    assert stored.headers["location"] == f"/api/v2/bundles/{sha_of(bundle())}"
    assert stored.json()["operations"] == [{"id": "app.greet", "method": "GET", "path": "/greet", "timeout": None}]
    assert (await client.post("/api/v2/bundles", content=bundle())).status_code == 200
    shown = await client.get(f"/api/v2/bundles/{sha_of(bundle())[:8]}")
    assert shown.json()["size"] == len(bundle())
    assert (await client.get("/api/v2/bundles/abc")).status_code == 404
    assert len((await client.get("/api/v2/bundles")).json()["bundles"]) == 1


async def test_a_wrong_spec_is_a_422_with_every_fault(client):
    refused = await client.post("/api/v2/bundles", content=b'{"problems": ["paths is missing", "info is missing"]}')
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert [one["what"] for one in refused.json()["errors"]] == ["paths is missing", "info is missing"]


async def test_a_bundle_over_the_limit_is_a_413_that_says_the_limit(installation, bundle):
    async with installation.tron(max_bundle=10) as tron, installation.client(tron) as client:
        refused = await client.post("/api/v2/bundles", content=bundle())
        assert refused.status_code == 413
        assert "limit of 10 bytes" in refused.json()["detail"]
        assert (await client.post("/api/v1/add_func", content=bundle())).status_code == 413


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"props": {}}', "needs 'sha'"),
        (b'{"sha": "x", "props": 7}', "'props' must be an object"),
        (b'{"sha": "x", "nope": 1}', "unknown members: nope"),
        (b" " * 1_100_000, "larger than"),
    ],
)
async def test_a_wrong_body_of_a_deploy_says_what_is_wrong(client, body, detail):
    refused = await client.put("/api/v2/deployments/x", content=body)
    assert refused.status_code in {400, 413}
    assert detail in refused.json()["detail"]


async def test_a_name_that_is_none_is_refused(client, bundle):
    stored = (await client.post("/api/v2/bundles", content=bundle())).json()
    refused = await client.put("/api/v2/deployments/" + "x" * 64, json={"sha": stored["sha"]})
    assert refused.status_code == 409
    assert "is no name of a deployment" in refused.json()["detail"]


async def test_a_deployment_is_found_by_its_name_or_the_beginning_of_its_sha(client, bundle):
    stored = (await client.post("/api/v2/bundles", content=bundle())).json()
    await client.put("/api/v2/deployments/mine", json={"sha": stored["sha"][:8], "settings": {"timeout": 3}})
    for name in ("mine", stored["sha"][:6], stored["sha"]):
        shown = (await client.get(f"/api/v2/deployments/{name}")).json()
        assert (shown["name"], shown["settings"], shown["queue"]) == (
            "mine",
            {"timeout": 3},
            f"func.mine.{stored['sha'][:8]}",
        )
        assert shown["url"] == "http://127.0.0.1:8080/hello"
    assert (await client.get(f"/api/v2/deployments/{stored['sha'][:3]}")).status_code == 404
    listed = (await client.get("/api/v2/deployments")).json()["deployments"]
    assert [one["name"] for one in listed] == ["mine"]


async def test_status_shows_everything_and_an_unknown_depth_as_null_with_the_reason(
    installation, tron, client, wait_until, monkeypatch
):
    await installation.frontend()
    await installation.runner()
    await wait_until(lambda: len(list(tron.peers)) == 2)
    shown = (await client.get("/api/v2/status")).json()
    assert shown["broker"] == {"driver": "memory", "connected": True, "blocked": None}
    assert {one["name"]: (one["ready"], one["unacked"]) for one in shown["queues"]} == {
        "funcatron.firehose": (0, 0),
        "for_tron": (0, 0),
        "funcatron.dead-letter": (0, 0),
    }
    assert [one["id"] for one in shown["frontends"] + shown["runners"]] == ["f1", "r1"]

    async def unknown(_):
        from funcatron.errors import UnknownDepth

        raise UnknownDepth("the management API is away")

    monkeypatch.setattr(tron.broker, "depth", unknown)
    (first, *_) = (await client.get("/api/v2/status")).json()["queues"]
    assert first == {
        "name": "funcatron.firehose",
        "ready": None,
        "unacked": None,
        "unknown": "the management API is away",
    }


async def test_the_history_of_what_never_was_is_a_404_and_limits_are_checked(client):
    assert (await client.get("/api/v2/deployments/never/history")).status_code == 404
    assert (await client.get("/api/v2/history")).json() == {"events": []}
    for limit in ("0", "1001", "-1", "x"):
        assert (await client.get("/api/v2/history", params={"limit": limit})).status_code == 400


async def test_a_registry_that_fails_refuses_changes_and_dispatch_goes_on(installation, tron, client, bundle):
    frontend, _ = await installation.frontend(), await installation.runner()
    stored = (await client.post("/api/v2/bundles", content=bundle())).json()
    await client.put("/api/v2/deployments/hello", json={"sha": stored["sha"]})
    await tron.deployments.settled("hello", stored["sha"], 5)
    await tron.registry.close()
    refused = await client.delete("/api/v2/deployments/hello")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == stored["sha"]


# errors, ids, pages


async def test_every_answer_has_a_request_id_a_sane_one_is_kept(client):
    assert (await client.get("/health", headers={"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
    for bad in ("", "a b", "x" * 200):
        assert (await client.get("/health", headers={"x-request-id": bad})).headers["x-request-id"] not in {
            bad,
            "mine-1",
        }
    missing = await client.get("/nowhere", headers={"x-request-id": "mine-2"})
    assert missing.status_code == 404
    assert missing.json()["request-id"] == "mine-2"
    wrong = await client.patch("/api/v2/status")
    assert wrong.status_code == 405
    assert "GET" in wrong.headers["allow"]
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_an_unexpected_error_is_a_500_problem_without_a_trace(tron, client, monkeypatch, caplog):
    async def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(tron.registry, "bundles", broken)
    failed = await client.get("/api/v2/bundles", headers={"x-request-id": "boom"})
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert "RuntimeError" in caplog.text


async def test_the_document_is_valid_and_names_every_call_and_no_other(client):
    document = yaml.safe_load((await client.get("/api/openapi.yaml")).text)
    validate(document)
    assert (await client.get("/api/openapi.json")).json() == document
    described = {
        (verb.upper(), path)
        for path, item in document["paths"].items()
        for verb in item
        if verb in {"get", "put", "post", "delete"}
    }
    served = {
        (verb, route.path)
        for route in [*v1.ROUTES, *v2.ROUTES, *metrics.ROUTES, *pages.ROUTES]
        for verb in route.methods - {"HEAD"}
        if route.path.startswith(("/api/v", "/health", "/ready"))
    }
    assert described == served


async def test_pages_need_no_other_machine(client):
    for path in ("/", "/docs"):
        page = await client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "//" not in page.text.replace("<!doctype", "")
    for name in ("style.css", "dashboard.js", "docs.js", "common.js", "icon.svg"):
        assert (await client.get(f"/static/{name}")).status_code == 200
    assert (await client.get("/static/..%2fapp.py")).status_code == 404


async def test_readiness_follows_the_broker(installation, tron, client):
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/ready")).status_code == 200
    installation.hub.stop()
    away = await client.get("/ready")
    assert away.status_code == 503
    assert "the broker is away" in away.json()["detail"]
    installation.hub.start()


# who may use it


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"host": "localhost:3000"}, 200),
        ("GET", {"host": "[::1]:3000"}, 200),
        ("GET", {"host": "evil.example:3000"}, 403),
        ("GET", {"host": "127.0.0.1.evil.example"}, 403),
        ("GET", {"origin": "http://evil.example"}, 200),
        ("POST", {"origin": "http://127.0.0.1:3000"}, 400),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "http://127.0.0.1:9999"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 400),
    ],
)
async def test_without_a_token_no_web_page_of_another_origin_gets_through(client, method, headers, status):
    path = "/api/v2/deployments" if method == "GET" else "/api/v1/enable"
    assert (await client.request(method, path, headers=headers)).status_code == status


async def test_with_a_token_only_who_has_it_gets_through(installation):
    async with (
        installation.tron(admin_token=SecretStr(TOKEN), admin_host="0.0.0.0") as tron,
        installation.client(tron, base_url="http://tron.example:3000") as client,
    ):
        for given in ({}, {"authorization": "Bearer nope"}, {"authorization": f"Basic {TOKEN}"}):
            refused = await client.get("/api/v2/status", headers=given)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        mine = {"authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/api/v2/status", headers=mine)).status_code == 200
        assert (await client.post("/api/v1/enable", headers=mine)).status_code == 400
        for public in ("/", "/docs", "/health", "/ready", "/api/openapi.yaml", "/static/style.css"):
            assert (await client.get(public)).status_code == 200


def test_an_open_address_without_a_token_is_refused_at_the_start():
    with pytest.raises(SettingsError, match="set FUNCATRON_ADMIN_TOKEN"):
        guard_for(Settings(admin_host="0.0.0.0"))
    with pytest.raises(SettingsError, match="too short"):
        guard_for(Settings(admin_token=SecretStr("short")))
    assert guard_for(Settings(admin_host="::1")).token is None


async def test_an_application_that_would_be_open_is_not_even_made(installation):
    async with installation.tron(admin_host="192.0.2.1") as tron:
        with pytest.raises(SettingsError):
            create_app(tron)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "x.localhost", "LOCALHOST."])
def test_this_machine_s_own_names_are_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.1", "localhost.evil.example", "evil.example", "2130706433"])
def test_all_other_names_are_not_loopback(host):
    assert not is_loopback(host)
