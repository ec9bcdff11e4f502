"""A spec compiled: everything that serving its requests needs, made once when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from funcatron.errors import BadSpec
from funcatron.spec.answers import Answers
from funcatron.spec.body import Body, form_content
from funcatron.spec.check import check_meaning, check_structure
from funcatron.spec.compiler import Compiler
from funcatron.spec.document import Document, load_document
from funcatron.spec.extension import Extension
from funcatron.spec.names import pythonic, sanitized
from funcatron.spec.operation import Operation
from funcatron.spec.parameters import Parameter
from funcatron.spec.routing import Match, Router
from funcatron.spec.security import Scheme, compile_security

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
CONTROLLERS = ("x-openapi-router-controller", "x-swagger-router-controller")
_ANY_HOST = frozenset({"", "localhost", "127.0.0.1", "0.0.0.0", "::1"})  # names, nothing is bound
_TEMPLATE = re.compile(r"\{([^{}]*)\}")


class Api:
    """A compiled spec. Immutable; may be used by many threads.

    `host` has no port, and is None for any host (also where the spec names a loopback host, which tells where the
    spec's author tried it). `base_path` is `/` or `/x/y`. `document` is the spec in one piece.
    """

    def __init__(self, document: Document, problems: list[str]) -> None:
        root = document.root
        info = root.get("info") or {}
        self.document: dict[str, Any] = root
        self.title: str = str(info.get("title", ""))
        self.version: str = str(info.get("version", ""))
        self.host, self.base_path = _location(document, problems)
        compiler = Compiler(document)
        compiler.problems = problems
        settings = Extension().inner(root, "the document", problems, root=True)
        self.timeout = settings.timeout
        self.concurrency = settings.concurrency
        self.instances = settings.instances
        self.name: str = settings.name or _name(self.base_path, self.title)
        self._router = Router(self.base_path)
        self.operations: tuple[Operation, ...] = tuple(self._compile(compiler, settings))
        self.checkers: tuple[str, ...] = tuple(dict.fromkeys(f for op in self.operations for f in op.checkers))
        self.callables: tuple[str, ...] = tuple(dict.fromkeys([*(op.id for op in self.operations), *self.checkers]))
        if not self.operations:
            problems.append("paths: the spec has no operation")

    def match(self, method: str, path: str) -> Match:
        """Return the operation for a method (upper case) and the raw path with the base path in front.

        Raises NoSuchPath, Redirect (a NoSuchPath; the path with or without a trailing slash exists) or
        MethodNotAllowed. HEAD falls back to GET (`head`), OPTIONS to a match without operation (`allow`).
        """
        return self._router.match(method, path)

    def operation(self, id: str) -> Operation:  # noqa: A002  # the word of OpenAPI
        """Return the operation with this id; raises KeyError."""
        for operation in self.operations:
            if operation.id == id:
                return operation
        raise KeyError(id)

    def _compile(self, compiler: Compiler, settings: Extension) -> Iterator[Operation]:
        paths = compiler.document.root.get("paths")
        builder = _Builder(compiler)
        seen: dict[str, str] = {}
        for path, item in (paths if isinstance(paths, dict) else {}).items():
            item = compiler.document.follow(item)
            if path.startswith("x-") or not isinstance(item, dict):
                continue
            if not path.startswith("/"):
                compiler.problem(f"paths.{path}", "a path must start with /")
                continue
            outer = settings.inner(item, f"paths.{path}", compiler.problems)
            for method in METHODS:
                if isinstance(item.get(method), dict):
                    operation, types = builder.operation(path, item, method, outer)
                    where = f"{operation.method} {path}"
                    if operation.id and operation.id in seen:
                        compiler.problem(where, f"has the operationId {operation.id!r} of {seen[operation.id]}")
                    seen[operation.id] = where
                    self._router.add(operation, types)
                    yield operation


def load(files: Mapping[str, bytes], entry: str | None = None, *, check: bool = True) -> Api:
    """Compile the spec of a bundle; raises BadSpec with every problem found, each with its place.

    `files` are the spec files of the bundle by relative path; `entry` is the one to start from, by default
    funcatron.yaml, funcatron.yml or funcatron.json. Without `check` the document is taken as one that
    openapi-spec-validator has passed before, which saves most of the time and memory.
    """
    document = load_document(files, entry)
    problems = _versions(document)
    if problems:
        raise BadSpec("the spec is not valid", problems)
    if check:
        problems = check_structure(document)
        problems += [] if problems else check_meaning(document)
    found = list(problems)
    try:
        api = Api(document, problems)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as err:
        # A document that broke its schema cannot always be compiled; then its faults are the reason, and enough.
        raise BadSpec("the spec is not valid", found or [f"it cannot be compiled: {err!r}"[:300]]) from err
    if problems:
        raise BadSpec("the spec is not valid", list(dict.fromkeys(problems)))
    return api


def _versions(document: Document) -> list[str]:
    root = document.root
    for key in ("swagger", "openapi"):
        if isinstance(root.get(key), float):
            root[key] = str(root[key])
    if root.get("swagger") == "2.0" or re.match(r"3\.[01]\.\d+", str(root.get("openapi", ""))):
        return []
    given = root.get("swagger") or root.get("openapi")
    return [f'the document must say swagger: "2.0" or openapi: 3.0.x or 3.1.x{f", not {given}" if given else ""}']


def _location(document: Document, problems: list[str]) -> tuple[str | None, str]:
    root = document.root
    if document.swagger2:
        host, path = str(root.get("host", "")), str(root.get("basePath", ""))
    else:
        host, path = _server(root, problems)
    name = (urlsplit(f"//{host}").hostname or "").lower()
    base = "/" + "/".join(unquote(part) for part in path.strip("/").split("/"))
    return (None if name in _ANY_HOST else name), base


def _server(root: Mapping[str, Any], problems: list[str]) -> tuple[str, str]:
    servers = root.get("servers") or []
    if not servers:
        return "", ""
    server = servers[0]
    url = str(server.get("url", ""))
    for name, variable in (server.get("variables") or {}).items():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    if "{" in url:
        problems.append(f"servers.0.url: {url} has a variable without a default")
        return "", ""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path


def _name(base_path: str, title: str) -> str:
    for source in (base_path, title):
        slug = re.sub(r"[^a-z0-9._]+", "-", source.lower()).strip("-._")[:63].strip("-._")
        if slug:
            return slug
    return "root"


class _Builder:
    """Makes operations out of their nodes."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._document = compiler.document
        root = compiler.document.root
        components = root.get("components")
        if self._document.swagger2:
            self._schemes = root.get("securityDefinitions") or {}
        else:
            self._schemes = (components or {}).get("securitySchemes") or {}
        self._compiled: dict[str, Scheme | None] = {}

    def operation(
        self, path: str, item: Mapping[str, Any], method: str, settings: Extension
    ) -> tuple[Operation, dict[str, str]]:
        """Return the operation and the kinds of its path parameters."""
        node = item[method]
        where = f"{method.upper()} {path}"
        identity = self._id(item, node)
        if not identity:
            self._compiler.problem(where, "has no operationId, which names the Func to call")
        settings = settings.inner(node, where, self._compiler.problems)
        raw = self._parameters(item, node)
        parameters = [
            Parameter(self._compiler, p, where) for p in raw if p["in"] in ("path", "query", "header", "cookie")
        ]
        self._check_path(where, path, parameters)
        produces = self._produces(node)
        content, body = self._body(node, raw, where, method, settings)
        security = compile_security(
            self._compiler,
            node.get("security", self._document.root.get("security")),
            self._schemes,
            self._compiled,
            where,
        )
        operation = Operation(
            id=identity,
            method=method.upper(),
            path=path,
            extension=settings,
            parameters=parameters,
            body=body,
            answers=Answers(self._compiler, node.get("responses") or {}, produces, method.upper(), where),
            security=security,
            produces=produces,
            consumes=tuple(content),
            aliases=_aliases(raw, content, body.name),
        )
        return operation, {p.name: p.route_kind for p in parameters if p.place == "path"}

    def _id(self, item: Mapping[str, Any], node: Mapping[str, Any]) -> str:
        name = node.get("operationId")
        if not isinstance(name, str) or not name.strip():
            return ""
        for level in (node, item, self._document.root):
            for key in CONTROLLERS:
                if isinstance(level.get(key), str):
                    return f"{level[key].strip()}.{name.strip()}"
        return name.strip()

    def _parameters(self, item: Mapping[str, Any], node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for level in (item, node):
            for parameter in level.get("parameters") or ():
                parameter = self._document.follow(parameter)
                found[parameter["in"], parameter["name"]] = parameter
        return list(found.values())

    def _check_path(self, where: str, path: str, parameters: list[Parameter]) -> None:
        declared = {parameter.name for parameter in parameters if parameter.place == "path"}
        names = _TEMPLATE.findall(path)
        for name in sorted(set(names) - declared):
            self._compiler.problem(where, f"the path parameter {name!r} is not declared")
        if len(set(names)) != len(names):
            self._compiler.problem(where, "a path parameter stands in the path twice")
        # A path parameter that the path lacks is left out, as Connexion does, rather than missed in every request.
        parameters[:] = [p for p in parameters if p.place != "path" or p.name in names]

    def _produces(self, node: Mapping[str, Any]) -> tuple[str, ...]:
        if self._document.swagger2:
            return tuple(node.get("produces", self._document.root.get("produces") or ()))
        kinds: dict[str, None] = {}
        for response in (node.get("responses") or {}).values():
            response = self._document.follow(response)
            if isinstance(response, dict):
                kinds.update(dict.fromkeys(response.get("content") or ()))
        return tuple(kinds)

    def _body(
        self, node: Mapping[str, Any], parameters: list[Mapping[str, Any]], where: str, method: str, settings: Extension
    ) -> tuple[Mapping[str, Any], Body]:
        name, required, by_name = "body", False, False
        declared = False
        if self._document.swagger2:
            consumes = tuple(node.get("consumes", self._document.root.get("consumes") or ("application/json",)))
            body = next((p for p in parameters if p["in"] == "body"), None)
            fields = [p for p in parameters if p["in"] == "formData"]
            media: dict[str, Any] = {}
            if body is not None:
                name, required, declared = body["name"], body.get("required") is True, True
                media = {"schema": body.get("schema", {}), "x-nullable": body.get("x-nullable")}
            elif fields:
                media, declared = _form_media(fields), True
                consumes = form_content(consumes)
            by_name = True
            content: Mapping[str, Any] = dict.fromkeys(consumes, media)
        else:
            request_body = self._document.follow(node.get("requestBody") or {})
            content = request_body.get("content") or {}
            required, declared = request_body.get("required") is True, bool(content)
            name = request_body.get("x-body-name", "body")
            if not isinstance(name, str):
                self._compiler.problem(where, "x-body-name must be a text")
                name = "body"
        declared = declared and method != "trace"  # TRACE has no body (RFC 9110 section 9.3.8)
        return content, Body(
            self._compiler,
            content,
            where,
            name=sanitized(name) or "body",
            required=required,
            declared=declared,
            by_name=by_name,
            strict=settings.strict_parameters,
        )


def _form_media(fields: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the media type object that form parameters of 2.0 amount to."""
    properties = {}
    for field in fields:
        outer = ("name", "in", "required", "description", "allowEmptyValue", "default")
        properties[field["name"]] = {key: value for key, value in field.items() if key not in outer}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [field["name"] for field in fields if field.get("required") is True]
    if required:
        schema["required"] = required
    defaults = {field["name"]: field["default"] for field in fields if "default" in field}
    if defaults:
        schema["default"] = defaults
    return {"schema": schema}


def _aliases(parameters: list[Mapping[str, Any]], content: Mapping[str, Any], body_name: str) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for parameter in parameters:
        raw = parameter["name"].replace("-", "_") if parameter["in"] == "path" else parameter["name"]
        aliases[sanitized(raw)] = pythonic(raw)
    if content:
        aliases.setdefault(body_name, pythonic(body_name))
    return {name: alias for name, alias in aliases.items() if alias and alias != name}
