"""Security: what is extracted for the checkers, and what is refused when the spec is loaded."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from funcatron.errors import BadSpec
from funcatron.spec import Operation, Request

from .conftest import MakeApi, MakeOperation

SCHEMES: dict[str, Any] = {
    "basic": {"type": "http", "scheme": "basic", "x-basicInfoFunc": "auth.basic"},
    "bearer": {"type": "http", "scheme": "Bearer", "x-bearerInfoFunc": "auth.bearer"},
    "digest": {"type": "http", "scheme": "digest", "x-bearerInfoFunc": "auth.digest"},
    "oauth": {
        "type": "oauth2",
        "x-tokenInfoFunc": "auth.token",
        "x-scopeValidateFunc": "auth.scopes",
        "flows": {"password": {"tokenUrl": "http://x/", "scopes": {"a": "", "b": ""}}},
    },
    "oidc": {"type": "openIdConnect", "openIdConnectUrl": "http://x/", "x-bearerInfoFunc": "auth.oidc"},
    "key_header": {"type": "apiKey", "in": "header", "name": "X-Auth", "x-apikeyInfoFunc": "auth.key"},
    "key_query": {"type": "apiKey", "in": "query", "name": "api_key", "x-apikeyInfoFunc": "auth.key"},
    "key_cookie": {"type": "apiKey", "in": "cookie", "name": "session", "x-apikeyInfoFunc": "auth.key"},
    "key_bearer": {"type": "apiKey", "in": "header", "name": "Authorization", "x-authentication-scheme": "Bearer",
                   "x-bearerInfoFunc": "auth.bearer"},
}  # fmt: skip


@pytest.fixture
def secured(operation3: MakeOperation) -> Any:
    def make(security: Any, **node: Any) -> Operation:
        return operation3(security=security, root={"components": {"securitySchemes": SCHEMES}}, **node)

    return make


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode("latin-1")).decode()


def test_an_operation_without_security_has_no_plan(secured: Any, operation3: MakeOperation) -> None:
    assert operation3().credentials(Request()) is None
    assert secured([]).credentials(Request()) is None


def test_a_requirement_says_all_that_the_host_needs(secured: Any) -> None:
    plan = secured([{"oauth": ["a"]}]).credentials(Request(headers={"authorization": "bearer tok en"}))
    assert plan == [
        [
            {
                "scheme": "oauth",
                "kind": "oauth2",
                "check": "auth.token",
                "args": ["tok en"],
                "scopes": ["a"],
                "scope-check": "auth.scopes",
                "challenge": "Bearer",
            }
        ]
    ]


@pytest.mark.parametrize(
    ("scheme", "request_", "kind", "args"),
    [
        ("basic", {"headers": {"authorization": basic("ada:pass:wörd")}}, "basic", ["ada", "pass:wörd"]),
        ("basic", {"headers": {"authorization": "bASIC " + basic("a:")[6:]}}, "basic", ["a", ""]),
        ("basic", {"headers": {"authorization": "Bearer x"}}, "basic", None),
        ("basic", {}, "basic", None),
        ("bearer", {"headers": {"authorization": "Bearer  tok"}}, "bearer", ["tok"]),
        ("bearer", {"headers": {"authorization": ["Bearer one", "Bearer two"]}}, "bearer", ["one"]),
        ("bearer", {"headers": {"authorization": "Basic x"}}, "bearer", None),
        ("digest", {"headers": {"authorization": 'Digest username="a", x=y'}}, "bearer", ['username="a", x=y']),
        ("oidc", {"headers": {"authorization": "Bearer t"}}, "oauth2", ["t"]),
        ("key_header", {"headers": {"x-auth": "k"}}, "apiKey", ["k"]),
        ("key_header", {}, "apiKey", None),
        ("key_query", {"query": "a=1&api_key=k%20"}, "apiKey", ["k "]),
        ("key_query", {"query": "api_key="}, "apiKey", [""]),
        ("key_query", {}, "apiKey", None),
        ("key_cookie", {"headers": {"cookie": "x=1; session=k"}}, "apiKey", ["k"]),
        ("key_cookie", {"headers": {"cookie": "x=1"}}, "apiKey", None),
        ("key_bearer", {"headers": {"authorization": "Bearer t"}}, "bearer", ["t"]),
    ],
)
def test_credentials_are_extracted(secured: Any, scheme: str, request_: Any, kind: str, args: Any) -> None:
    (requirement,) = secured([{scheme: []}]).credentials(Request(**request_))[0]
    assert (requirement["kind"], requirement["args"]) == (kind, args)
    assert "invalid" not in requirement


@pytest.mark.parametrize("header", ["Basic", "Basic ", "Basic !!!", "Basic YQ==", "xyz"])
def test_a_header_that_cannot_be_read_is_invalid_not_absent(secured: Any, header: str) -> None:
    (requirement,) = secured([{"basic": []}]).credentials(Request(headers={"authorization": header}))[0]
    assert requirement["args"] is None
    assert requirement["invalid"] == "Invalid authorization header"


def test_alternatives_requirements_and_anonymous_access_keep_their_order(secured: Any) -> None:
    plan = secured([{"basic": [], "key_header": []}, {"bearer": []}, {}]).credentials(Request())
    assert [[r["scheme"] for r in alternative] for alternative in plan] == [["basic", "key_header"], ["bearer"], []]


def test_security_of_the_root_holds_unless_the_operation_says_otherwise(openapi: MakeApi) -> None:
    api = openapi(
        {"/a": {"get": {}, "put": {"security": []}, "post": {"security": [{"bearer": []}]}}},
        components={"securitySchemes": SCHEMES},
        security=[{"basic": []}],
    )
    plans = {op.method: op.credentials(Request()) for op in api.operations}
    assert plans["GET"][0][0]["scheme"] == "basic"  # type: ignore[index]
    assert plans["PUT"] is None
    assert plans["POST"][0][0]["scheme"] == "bearer"  # type: ignore[index]
    assert api.checkers == ("auth.basic", "auth.bearer")
    assert set(api.callables) == {"module.func1", "module.func2", "module.func3", "auth.basic", "auth.bearer"}


def test_a_key_in_the_query_is_no_unknown_parameter(secured: Any) -> None:
    operation = secured([{"key_query": []}], **{"x-funcatron": {"strict-parameters": True}})
    assert operation.bind(Request(query="api_key=x"), {}).params == {}


def test_2_0_schemes_work(operation2: MakeOperation) -> None:
    operation = operation2(
        security=[{"b": []}, {"o": ["s"]}],
        root={
            "securityDefinitions": {
                "b": {"type": "basic", "x-basicInfoFunc": "auth.b"},
                "o": {"type": "oauth2", "flow": "implicit", "authorizationUrl": "http://x/", "scopes": {"s": ""},
                      "x-tokenInfoFunc": "auth.o"},
            }
        },
    )  # fmt: skip
    plan = operation.credentials(Request(headers={"authorization": basic("a:b")}))
    assert plan is not None
    assert [(r["check"], r["args"], r["scopes"], r["scope-check"]) for (r,) in plan] == [
        ("auth.b", ["a", "b"], [], None),
        ("auth.o", None, ["s"], None),
    ]


@pytest.mark.parametrize(
    ("scheme", "what"),
    [
        ({"type": "http", "scheme": "basic"}, "x-basicInfoFunc"),
        ({"type": "http", "scheme": "bearer"}, "x-bearerInfoFunc"),
        ({"type": "http", "scheme": "hoba"}, "x-bearerInfoFunc or x-tokenInfoFunc"),
        ({"type": "apiKey", "in": "query", "name": "k"}, "x-apikeyInfoFunc"),
        ({"type": "apiKey", "in": "query", "name": "k", "x-apikeyInfoFunc": " "}, "x-apikeyInfoFunc"),
        ({"type": "oauth2", "flows": {}}, "x-tokenInfoFunc"),
        ({"type": "oauth2", "flows": {}, "x-tokenInfoUrl": "http://x"}, "x-tokenInfoUrl is not supported"),
        ({"type": "openIdConnect", "openIdConnectUrl": "http://x/"}, "x-tokenInfoFunc or x-bearerInfoFunc"),
    ],
)
def test_a_scheme_without_a_checker_is_refused_when_it_is_required(
    operation3: MakeOperation, scheme: Any, what: str
) -> None:
    root = {"components": {"securitySchemes": {"s": scheme}}}
    with pytest.raises(BadSpec) as caught:
        operation3(security=[{"s": []}], root=root)
    assert any(problem.startswith("security scheme 's'") and what in problem for problem in caught.value.problems)
    assert operation3(root=root).credentials(Request()) is None


def test_a_requirement_of_an_unknown_scheme_is_refused(operation3: MakeOperation) -> None:
    with pytest.raises(BadSpec, match="requires the security scheme 'nope', which is not defined"):
        operation3(security=[{"nope": []}])
