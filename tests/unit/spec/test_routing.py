"""Paths and methods to operations."""

from __future__ import annotations

from typing import Any

import pytest

from funcatron.spec import Api, MethodNotAllowed, NoSuchPath, Redirect

from .conftest import MakeApi


def path_parameters(**kinds: Any) -> dict[str, Any]:
    def schema(kind: str) -> dict[str, str]:
        return {"type": "string", "format": "path"} if kind == "path" else {"type": kind}

    return {"parameters": [{"name": n, "in": "path", "required": True, "schema": schema(k)} for n, k in kinds.items()]}


@pytest.fixture
def api(openapi: MakeApi) -> Api:
    return openapi(
        {
            "/": {"get": {"operationId": "root"}},
            "/a": {"get": {"operationId": "a"}, "put": {"operationId": "put_a"}},
            "/s/": {"get": {"operationId": "slash"}},
            "/u/me": {"get": {"operationId": "me"}},
            "/u/{i}": {"get": {"operationId": "by_int", **path_parameters(i="integer")}},
            "/u/{f}": {"get": {"operationId": "by_number", **path_parameters(f="number")}},
            "/u/{s}": {"get": {"operationId": "by_text", **path_parameters(s="string")},
                       "delete": {"operationId": "remove", **path_parameters(s="string")}},
            "/n/{i}": {"get": {"operationId": "only_int", **path_parameters(i="integer")}},
            "/m/{a}.{b}": {"get": {"operationId": "mixed", **path_parameters(a="string", b="string")}},
            "/m/v{a}": {"get": {"operationId": "prefixed", **path_parameters(a="integer")}},
            "/g/{a}/{rest}": {"get": {"operationId": "rest", **path_parameters(a="string", rest="path")}},
            "/h/{mid}/end": {"get": {"operationId": "middle", **path_parameters(mid="path")}},
            "/o": {"options": {"operationId": "own_options"}, "head": {"operationId": "own_head"}, "get": {}},
        },
        servers=[{"url": "/v1"}],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "operation", "params"),
    [
        ("/v1/", "root", {}),
        ("/v1/a", "a", {}),
        ("/v1/s/", "slash", {}),
        ("/v1/u/me", "me", {}),
        ("/v1/u/%6De", "me", {}),
        ("/%76%31/a", "a", {}),
        ("/v1/u/5", "by_int", {"i": "5"}),
        ("/v1/u/+05", "by_int", {"i": "+05"}),
        ("/v1/u/-5.5", "by_number", {"f": "-5.5"}),
        ("/v1/u/.5", "by_number", {"f": ".5"}),
        ("/v1/u/5.", "by_number", {"f": "5."}),
        ("/v1/u/x", "by_text", {"s": "x"}),
        ("/v1/u/.", "by_text", {"s": "."}),
        ("/v1/u/%E2%82%AC%20", "by_text", {"s": "€ "}),
        ("/v1/u/a%2Fb", "by_text", {"s": "a/b"}),
        ("/v1/m/x.y.z", "mixed", {"a": "x", "b": "y.z"}),
        ("/v1/m/v12", "prefixed", {"a": "12"}),
        ("/v1/g/x/y/z/", "rest", {"a": "x", "rest": "y/z/"}),
        ("/v1/g/x/y%2Fz", "rest", {"a": "x", "rest": "y/z"}),
        ("/v1/h/1/2/end", "middle", {"mid": "1/2"}),
        ("/v1/h/end/end", "middle", {"mid": "end"}),
    ],
)
def test_the_most_specific_path_wins(api: Api, path: str, operation: str, params: dict[str, str]) -> None:
    match = api.match("GET", path)
    assert match.operation is not None
    assert (match.operation.id, match.path_params) == (operation, params)


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v2/a", "/v1x/a", "/v1/b", "/v1/n/x", "/v1/n/1.5", "/v1/n/", "/v1//a", "/v1/u/", "v1/a", "/v1/A",
     "/v1/m/vx", "/v1/n/%31%32x", "/v1/n/\u0661", "//v1/a", "/v1/u/me/x"],
)  # fmt: skip
def test_other_paths_are_not_there(api: Api, path: str) -> None:
    with pytest.raises(NoSuchPath):
        api.match("GET", path)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/v1/a/", "/v1/a"),
        ("/v1/s", "/v1/s/"),
        ("/v1", "/v1/"),
        ("/v1/u/a%2Fb/", "/v1/u/a%2Fb"),
        ("/v1/n/5/", "/v1/n/5"),
    ],
)
def test_a_wrong_trailing_slash_is_redirected(api: Api, path: str, location: str) -> None:
    with pytest.raises(Redirect) as caught:
        api.match("GET", path)
    assert caught.value.location == location


def test_a_redirect_never_leaves_the_host(openapi: MakeApi) -> None:
    api = openapi({"/{a}/{b}": {"get": path_parameters(a="string", b="path")}})
    for path in ("//evil.example", "//evil.example/", "///"):
        with pytest.raises(NoSuchPath) as caught:
            api.match("GET", path)
        assert not isinstance(caught.value, Redirect)


def test_another_method_is_refused_with_those_that_are_allowed(api: Api) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        api.match("POST", "/v1/a")
    assert caught.value.allow == ("GET", "HEAD", "OPTIONS", "PUT")


def test_the_allowed_methods_are_those_of_every_path_that_fits(api: Api) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        api.match("POST", "/v1/u/me")
    assert caught.value.allow == ("DELETE", "GET", "HEAD", "OPTIONS")


def test_a_less_specific_path_serves_the_method_that_the_specific_lacks(api: Api) -> None:
    match = api.match("DELETE", "/v1/u/me")
    assert match.operation is not None
    assert (match.operation.id, match.path_params) == ("remove", {"s": "me"})


def test_head_falls_back_to_get(api: Api) -> None:
    match = api.match("HEAD", "/v1/u/7")
    assert match.operation is not None
    assert (match.operation.id, match.head, match.path_params) == ("by_int", True, {"i": "7"})


def test_options_is_answered_without_an_operation(api: Api) -> None:
    match = api.match("OPTIONS", "/v1/a")
    assert match.operation is None
    assert match.allow == ("GET", "HEAD", "OPTIONS", "PUT")


def test_own_head_and_options_count(api: Api) -> None:
    head, options = api.match("HEAD", "/v1/o"), api.match("OPTIONS", "/v1/o")
    assert head.operation is not None
    assert options.operation is not None
    assert (head.operation.id, head.head, options.operation.id) == ("own_head", False, "own_options")


def test_a_base_path_of_slash_serves_from_the_root(swagger: MakeApi) -> None:
    for root in ({"basePath": "/"}, {}):
        api = swagger({"/a": {"get": {}}, "/": {"put": {}}}, **root)
        assert api.base_path == "/"
        assert api.match("GET", "/a").operation is not None
        assert api.match("PUT", "/").operation is not None


def test_a_trailing_slash_of_the_base_path_does_not_count(swagger: MakeApi) -> None:
    api = swagger({"/a": {"get": {}}}, basePath="/x/y/")
    assert api.base_path == "/x/y"
    assert api.match("GET", "/x/y/a").operation is not None
