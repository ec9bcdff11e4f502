"""Security: which credentials a request carries, and which functions of the bundle must approve them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from funcatron.spec.compiler import Compiler
from funcatron.spec.parameters import parse_cookies, parse_query
from funcatron.spec.request import Request

Credentials = tuple[list[str] | None, str | None]  # the checker's arguments, and what is wrong with what came
Extract = Callable[[Request], Credentials]
ABSENT: Credentials = (None, None)
_INVALID: Credentials = (None, "Invalid authorization header")


class Scheme:
    """One security scheme of the spec, ready to look at requests."""

    def __init__(self, name: str, kind: str, check: str, extract: Extract, challenge: str) -> None:
        self.name = name
        self.kind = kind
        self.check = check
        self.extract = extract
        self.challenge = challenge
        self.scope_check: str | None = None
        self.query_name: str | None = None


def compile_scheme(compiler: Compiler, name: str, node: Mapping[str, Any]) -> Scheme | None:
    """Return the scheme, or None after noting why it cannot be enforced: nothing is allowed by omission."""
    where = f"security scheme {name!r}"
    kind = node.get("type")
    if kind == "http":
        return _http(compiler, where, name, node)
    if kind == "basic":
        return _scheme(compiler, where, name, node, "basic", ("x-basicInfoFunc",), _basic, 'Basic realm="funcatron"')
    if kind == "apiKey":
        return _api_key(compiler, where, name, node)
    if kind in ("oauth2", "openIdConnect"):
        keys = ("x-tokenInfoFunc",) if kind == "oauth2" else ("x-tokenInfoFunc", "x-bearerInfoFunc")
        scheme = _scheme(compiler, where, name, node, "oauth2", keys, _token("bearer"), "Bearer")
        if scheme is not None and node.get("x-scopeValidateFunc"):
            scheme.scope_check = _function(node["x-scopeValidateFunc"])
        return scheme
    compiler.problem(where, f"the type {kind!r} is not supported")
    return None


def _scheme(
    compiler: Compiler,
    where: str,
    name: str,
    node: Mapping[str, Any],
    kind: str,
    keys: tuple[str, ...],
    extract: Extract,
    challenge: str,
) -> Scheme | None:
    for key in keys:
        if isinstance(node.get(key), str) and node[key].strip():
            return Scheme(name, kind, _function(node[key]), extract, challenge)
    if "x-tokenInfoUrl" in node:
        compiler.problem(
            where,
            "x-tokenInfoUrl is not supported; name a function of the bundle that checks tokens in x-tokenInfoFunc",
        )
    else:
        compiler.problem(where, f"names no function that checks it; name one of the bundle's in {' or '.join(keys)}")
    return None


def _http(compiler: Compiler, where: str, name: str, node: Mapping[str, Any]) -> Scheme | None:
    scheme = str(node.get("scheme", "")).lower()
    if scheme == "basic":
        return _scheme(compiler, where, name, node, "basic", ("x-basicInfoFunc",), _basic, 'Basic realm="funcatron"')
    keys = ("x-bearerInfoFunc",) if scheme == "bearer" else ("x-bearerInfoFunc", "x-tokenInfoFunc")
    return _scheme(compiler, where, name, node, "bearer", keys, _token(scheme), scheme.capitalize())


def _api_key(compiler: Compiler, where: str, name: str, node: Mapping[str, Any]) -> Scheme | None:
    if str(node.get("x-authentication-scheme", "")).lower() == "bearer":
        return _scheme(compiler, where, name, node, "bearer", ("x-bearerInfoFunc",), _token("bearer"), "Bearer")
    place, key = node.get("in"), str(node.get("name", ""))
    extract = _KEY_READERS.get(str(place))
    if extract is None:
        compiler.problem(where, f"a key in {place!r} is not supported")
        return None
    challenge = f'ApiKey realm="funcatron", in="{place}", name="{_quotable(key)}"'
    scheme = _scheme(compiler, where, name, node, "apiKey", ("x-apikeyInfoFunc",), extract(key), challenge)
    if scheme is not None and place == "query":
        scheme.query_name = key
    return scheme


def _quotable(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in '"\\')


def _function(name: str) -> str:
    return name.strip()


def _authorization(request: Request) -> tuple[str, str] | Credentials:
    value = request.header("authorization")
    if not value:
        return ABSENT
    kind, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    return (kind.lower(), rest) if rest else _INVALID


def _basic(request: Request) -> Credentials:
    found = _authorization(request)
    if not isinstance(found[0], str):
        return found
    if found[0] != "basic":
        return ABSENT
    try:
        user, colon, password = base64.b64decode(str(found[1])).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        return _INVALID
    return ([user, password], None) if colon else _INVALID


def _token(scheme: str) -> Extract:
    def extract(request: Request) -> Credentials:
        found = _authorization(request)
        if not isinstance(found[0], str):
            return found
        return ([str(found[1])], None) if found[0] == scheme else ABSENT

    return extract


def _key_in_header(name: str) -> Extract:
    lower = name.lower()

    def extract(request: Request) -> Credentials:
        value = request.header(lower)
        return ABSENT if value is None else ([value], None)

    return extract


def _key_in_query(name: str) -> Extract:
    def extract(request: Request) -> Credentials:
        values = parse_query(request.query).get(name)
        return ABSENT if values is None else ([values[-1]], None)

    return extract


def _key_in_cookie(name: str) -> Extract:
    def extract(request: Request) -> Credentials:
        values = parse_cookies(request.cookies()).get(name)
        return ABSENT if values is None else ([values[-1]], None)

    return extract


_KEY_READERS: dict[str, Callable[[str], Extract]] = {
    "header": _key_in_header,
    "query": _key_in_query,
    "cookie": _key_in_cookie,
}


class Security:
    """The security requirements of one operation: alternatives, each of which may need several schemes."""

    def __init__(self, alternatives: list[list[tuple[Scheme, list[str]]]]) -> None:
        self._alternatives = alternatives
        schemes = [scheme for alternative in alternatives for scheme, _ in alternative]
        self.checkers = tuple(dict.fromkeys(f for s in schemes for f in (s.check, s.scope_check) if f is not None))
        self.query_names = frozenset(s.query_name for s in schemes if s.query_name is not None)

    def plan(self, request: Request) -> list[list[dict[str, Any]]]:
        """Return what the host must have approved: one alternative of these, with all of its requirements."""
        return [[_requirement(scheme, scopes, request) for scheme, scopes in each] for each in self._alternatives]


def _requirement(scheme: Scheme, scopes: list[str], request: Request) -> dict[str, Any]:
    arguments, invalid = scheme.extract(request)
    requirement: dict[str, Any] = {
        "scheme": scheme.name,
        "kind": scheme.kind,
        "check": scheme.check,
        "args": arguments,
        "scopes": scopes,
        "scope-check": scheme.scope_check,
        "challenge": scheme.challenge,
    }
    if invalid is not None:
        requirement["invalid"] = invalid
    return requirement


def compile_security(
    compiler: Compiler, requirements: Any, schemes: Mapping[str, Any], compiled: dict[str, Scheme | None], where: str
) -> Security | None:
    """Return the compiled requirements of an operation; None if it has none. `compiled` is the memory of schemes."""
    if not isinstance(requirements, list) or not requirements:
        return None
    alternatives: list[list[tuple[Scheme, list[str]]]] = []
    for requirement in requirements:
        alternative = []
        for name, scopes in (requirement or {}).items():
            if name not in schemes:
                compiler.problem(where, f"requires the security scheme {name!r}, which is not defined")
                continue
            if name not in compiled:
                compiled[name] = compile_scheme(compiler, name, compiler.document.follow(schemes[name]))
            scheme = compiled[name]
            if scheme is not None:
                alternative.append((scheme, [str(scope) for scope in scopes or ()]))
        alternatives.append(alternative)
    return Security(alternatives)
