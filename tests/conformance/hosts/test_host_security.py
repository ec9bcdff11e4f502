"""The bundle's own checking functions decide who may call: called as by Connexion, never allowed by omission."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from funcatron.hosts import Answer
from tests.hosting import Bench, hosting

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = """
from funcatron import Problem

def who(user, token_info):
    return {"user": user, "info": token_info}

def anybody():
    return "in"

async def who_async(context):
    return {"user": context.user, "info": context["token_info"]}

def _basic(username, password, required_scopes=None):
    if username == password:
        return {"sub": username, "scopes": required_scopes}

def _key(apikey, required_scopes, request):
    return {"uid": apikey, "path": request.path} if apikey == "good" else None

async def _token(token):
    return {"bad": None, "no": False, "empty": {}}.get(token, {"sub": token, "scope": "read write"})

def _list(token):
    return {"sub": token, "scopes": ["read"]}

def _scopes(required_scopes, token_scopes):
    return required_scopes == ["odd"]

def _problem(token):
    raise Problem(429, "Slow down")

def _breaks(token):
    raise ValueError("the check is broken")
"""
CHECKERS = ["_basic", "_key", "_token", "_list", "_scopes", "_problem", "_breaks"]


def need(check: str, *args: str, kind: str = "oauth2", scopes: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """One requirement; without arguments the credential is absent."""
    return {
        "scheme": check.strip("_"),
        "kind": kind,
        "check": f"app.{check}",
        "args": list(args) or None,
        "scopes": list(scopes),
        "scope-check": None,
        "challenge": f"Test realm={check}",
        **more,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with hosting(CODE, checkers=[f"app.{name}" for name in CHECKERS]) as running:
        yield running


async def ask(bench: Bench, *plan: list[dict[str, Any]], function: str = "who") -> tuple[int, Any, Answer]:
    answer = await bench.call(function, security=list(plan))
    return answer.status, json.loads(bytes(answer.body) or b"null"), answer


def challenges(answer: Answer) -> list[str]:
    return [value for name, value in answer.headers if name.lower() == "www-authenticate"]


async def test_basic_credentials_reach_the_checker_and_its_result_the_func(bench: Bench) -> None:
    status, body, _ = await ask(bench, [need("_basic", "ada", "ada", kind="basic", scopes=("read",))])
    assert (status, body) == (200, {"user": "ada", "info": {"sub": "ada", "scopes": ["read"]}})


async def test_a_checker_gets_the_request_and_the_scopes_if_it_takes_them(bench: Bench) -> None:
    status, body, _ = await ask(bench, [need("_key", "good", kind="apiKey")])
    assert (status, body) == (200, {"user": "good", "info": {"uid": "good", "path": "/x"}})


async def test_asynchronous_checkers_are_awaited_for_both_kinds_of_funcs(bench: Bench) -> None:
    for function in ("who", "who_async"):
        status, body, _ = await ask(bench, [need("_token", "t", scopes=("read",))], function=function)
        assert (status, body["user"]) == (200, "t")


async def test_a_func_that_does_not_ask_for_the_user_is_called_without(bench: Bench) -> None:
    assert (await ask(bench, [need("_token", "t")], function="anybody"))[:2] == (200, "in")


@pytest.mark.parametrize("token", ["bad", "no"])
async def test_a_refused_credential_is_a_401_with_a_challenge(bench: Bench, token: str) -> None:
    status, body, answer = await ask(bench, [need("_token", token)])
    assert (status, body["detail"]) == (401, "Provided token is not valid")
    assert body["request-id"] == "id-who"
    assert challenges(answer) == ["Test realm=_token"]


async def test_an_empty_result_is_an_approval_without_a_user(bench: Bench) -> None:
    assert (await ask(bench, [need("_token", "empty")]))[:2] == (200, {"user": None, "info": {}})


async def test_no_credential_is_a_401_that_names_every_way_in(bench: Bench) -> None:
    status, body, answer = await ask(bench, [need("_token")], [need("_basic", kind="basic")])
    assert (status, body["detail"]) == (401, "No authorization token provided")
    assert challenges(answer) == ["Test realm=_token", "Test realm=_basic"]


async def test_a_credential_that_cannot_be_read_is_a_401_with_the_reason(bench: Bench) -> None:
    status, body, _ = await ask(bench, [need("_basic", kind="basic", invalid="Invalid authorization header")])
    assert (status, body["detail"]) == (401, "Invalid authorization header")


async def test_missing_scopes_are_a_403(bench: Bench) -> None:
    status, body, _ = await ask(bench, [need("_token", "t", scopes=("admin",))])
    assert status == 403
    assert "required scopes" in body["detail"]
    assert (await ask(bench, [need("_list", "t", scopes=("read",))]))[0] == 200
    assert (await ask(bench, [need("_list", "t", scopes=("write",))]))[0] == 403
    # a scheme that has no scopes of its own: who declares some anyhow must not get all in
    assert (await ask(bench, [need("_list", "t", kind="bearer", scopes=("write",))]))[0] == 403


async def test_the_bundles_own_scope_check_decides(bench: Bench) -> None:
    own = {"scope-check": "app._scopes"}
    assert (await ask(bench, [need("_token", "t", scopes=("odd",), **own)]))[0] == 200
    assert (await ask(bench, [need("_token", "t", scopes=("read",), **own)]))[0] == 403


async def test_all_of_one_alternative_must_hold(bench: Bench) -> None:
    both = [need("_token", "t"), need("_key", "good", kind="apiKey")]
    status, body, _ = await ask(bench, both)
    assert status == 200
    assert (body["user"], set(body["info"])) == ("t", {"token", "key"})
    assert (await ask(bench, [need("_token", "t"), need("_key", "wrong", kind="apiKey")]))[0] == 401
    assert (await ask(bench, [need("_token", "t"), need("_key", kind="apiKey")]))[0] == 401


async def test_any_alternative_is_enough_whatever_the_others_say(bench: Bench) -> None:
    for other in (need("_token", "bad"), need("_token"), need("_breaks", "t"), need("_problem", "t")):
        status, body, _ = await ask(bench, [other], [need("_key", "good", kind="apiKey")])
        assert (status, body["user"]) == (200, "good")


async def test_an_empty_alternative_lets_anybody_in(bench: Bench) -> None:
    assert (await ask(bench, [need("_token")], []))[:2] == (200, {"user": None, "info": {}})


async def test_the_most_telling_refusal_is_the_answer(bench: Bench) -> None:
    refused, forbidden = need("_token", "bad"), need("_token", "t", scopes=("admin",))
    assert (await ask(bench, [refused], [forbidden]))[0] == 403
    assert (await ask(bench, [need("_problem", "t")], [refused]))[0] == 401
    assert (await ask(bench, [need("_problem", "t")]))[0] == 429


async def test_a_checker_that_breaks_lets_nobody_in(bench: Bench) -> None:
    status, _, answer = await ask(bench, [need("_breaks", "t")])
    assert (status, answer.failed) == (500, True)
    assert "the check is broken" in bench.lines[-1]["exception"]


async def test_a_plan_without_alternatives_lets_nobody_in(bench: Bench) -> None:
    assert (await ask(bench))[0] == 401


async def test_authorize_runs_the_checks_alone(bench: Bench) -> None:
    for check, expected in ((need("_token", "t"), (0, True)), (need("_token", "bad"), (401, False))):
        header, _ = bench.frame("who", None, {"security": [[check]]})
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        bench.host.authorize(header, future.set_result)
        answer = await asyncio.wait_for(future, 10)
        assert (answer.status, answer.authorized) == expected
