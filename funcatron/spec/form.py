"""Forms: urlencoded and multipart bodies, read field by field as the schema's properties declare them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from funcatron.spec import styles
from funcatron.spec.compiler import Compiler
from funcatron.spec.faults import Fault
from funcatron.spec.jsontext import parse_text
from funcatron.spec.media import FORMS
from funcatron.spec.multipart import Malformed, Part, parse_multipart
from funcatron.spec.names import sanitized
from funcatron.spec.parameters import parse_query
from funcatron.spec.request import Arguments, FilePart
from funcatron.spec.validator import Missing, Path
from funcatron.spec.values import kinds_of, properties_of

_FILE_FORMATS = ("binary", "base64")


class FormReader:
    """Reads one form. `by_name`: each field is an argument of its own (2.0); otherwise all make one body (3.x)."""

    def __init__(
        self, compiler: Compiler, schema: Any, encoding: Mapping[str, Any], where: str, *, by_name: bool, strict: bool
    ) -> None:
        document = compiler.document
        self._by_name = by_name
        self._strict = strict
        node = document.follow(schema)
        node = node if isinstance(node, dict) else {}
        default = node.get("default")
        self._default: dict[str, Any] = default if isinstance(default, dict) else {}
        self._checker = compiler.checker(schema, where)
        self._fields = {
            name: _Field(compiler, name, member, encoding.get(name) or {}, by_name=by_name)
            for name, member in properties_of(document, schema).items()
        }
        more = node.get("additionalProperties")
        self.arguments = frozenset(sanitized(name) for name, field in self._fields.items() if by_name or field.file)
        """The arguments that this form can supply beside the body."""
        self._coerce_more = compiler.coercer(more) if isinstance(more, dict) else None

    def read(
        self, body: bytes, media_type: str, parameters: Mapping[str, str], arguments: Arguments, faults: list[Fault]
    ) -> None:
        """Put the form into `arguments`; faults are added to `faults`."""
        try:
            fields = _split(body, media_type, parameters)
        except Malformed as err:
            faults.append(Fault("body", str(err), str(err)))
            return
        if self._strict:
            self._check_names(fields, faults)
        values, files, checked = self._values(fields, faults)
        faults.extend(_located(path, what) for path, what in self._checker.faults(checked))
        self._deliver(arguments, values, files)

    def _check_names(self, fields: Mapping[str, Any], faults: list[Fault]) -> None:
        unknown = [name for name in fields if name not in self._fields]
        if unknown:
            detail = f"Extra formData parameter(s) {','.join(unknown)} not in spec"
            faults.extend(Fault(f"form.{name}", "is not in the spec", detail) for name in unknown)

    def _values(
        self, fields: Mapping[str, list[str | Part]], faults: list[Fault]
    ) -> tuple[dict[str, Any], list[FilePart], dict[str, Any]]:
        """Return the fields' values, the files, and the object to be checked, where texts stand for the files."""
        values: dict[str, Any] = {}
        files: list[FilePart] = []
        checked: dict[str, Any] = {}
        for name, given in fields.items():
            field = self._fields.get(name)
            uploads = [part for part in given if isinstance(part, Part) and part.filename is not None]
            files.extend(_file(name, part, field is not None and field.many_files) for part in _kept(uploads, field))
            if field is not None and field.file:
                checked[name] = [""] * len(given) if field.many_files or len(given) > 1 else ""
                texts = [_text(part) for part in given if part not in uploads]
                if texts:
                    values[name] = texts if field.many_files else texts[-1]
            elif uploads:
                checked[name] = [""] * len(given) if field is not None else ""
            else:
                try:
                    values[name] = checked[name] = self._value(name, field, given)
                except (Malformed, ValueError) as err:
                    faults.append(Fault(f"form.{name}", str(err), f"{err} - 'form.{name}'"))
                    checked[name] = None
        return values, files, checked

    def _value(self, name: str, field: _Field | None, given: list[str | Part]) -> Any:
        if field is not None:
            return field.value(given)
        text = styles.joined([_text(part) for part in given])
        return text if self._coerce_more is None else self._coerce_more(text)

    def _deliver(self, arguments: Arguments, values: dict[str, Any], files: list[FilePart]) -> None:
        arguments.files = files
        complete = {**deepcopy(self._default), **values}
        if self._by_name:
            for name, value in complete.items():
                if name in self._fields:
                    arguments.params[sanitized(name)] = value
            return
        arguments.body_kind = "form"
        arguments.body = complete


class _Field:
    """One declared property of a form."""

    def __init__(
        self, compiler: Compiler, name: str, schema: Any, encoding: Mapping[str, Any], *, by_name: bool
    ) -> None:
        document = compiler.document
        self._name = name
        kinds = kinds_of(document, schema)
        items = document.follow(schema).get("items", {}) if "array" in kinds else {}
        self.many_files = "array" in kinds and _is_file(compiler, items)
        self.file = self.many_files or _is_file(compiler, schema)
        self._array = "array" in kinds
        self._coerce = compiler.coercer(schema)
        content_type = str(encoding.get("contentType", ""))
        structured = "object" in (kinds_of(document, items) if self._array else kinds)
        self._json = content_type.split(";")[0].strip().lower().endswith("json")
        self._json_part = not by_name and structured and not encoding.get("style") and not content_type
        if by_name:
            self._split = styles.collection(schema) if self._array else styles.last
        elif self._array:
            style = encoding.get("style", "form")
            self._split = styles.query_splitter(
                style, "array", explode=encoding.get("explode", style == "form") is True
            )
        else:
            self._split = styles.joined

    def value(self, given: list[str | Part]) -> Any:
        """Return the typed value of this field; raises ValueError where it is not JSON although it must be."""
        texts = [_text(part) for part in given]
        if self._json or (self._json_part and _looks_json(given, texts)):
            parsed = [_parsed(text) for text in texts]
            if self._array and not (len(parsed) == 1 and isinstance(parsed[0], list)):
                return parsed
            return parsed[-1]
        if len(texts) == 1 and texts[0].strip() in ("null", "None"):
            value = self._coerce(texts[0])
            if value is None:
                return None
        return self._coerce(self._split(texts))


def _located(path: Path, what: str) -> Fault:
    there = path[:-1] if path and isinstance(path[-1], Missing) else path
    dotted = ".".join(str(step) for step in there)
    return Fault(".".join(["form", *map(str, path)]), what, f"{what} - {dotted!r}" if dotted else what)


def _parsed(text: str) -> Any:
    try:
        return parse_text(text)
    except ValueError as err:
        raise ValueError(f"is not JSON: {err}") from err


def _looks_json(given: list[str | Part], texts: list[str]) -> bool:
    """Objects in multipart bodies are JSON by default (OpenAPI 3.0.3 section 4.7.14.4)."""
    return any(isinstance(part, Part) for part in given) and all(text.lstrip()[:1] in ("{", "[") for text in texts)


def _is_file(compiler: Compiler, schema: Any) -> bool:
    node = compiler.document.follow(schema)
    if not isinstance(node, dict):
        return False
    if node.get("type") == "file":
        return True
    text = node.get("type") == "string" or "type" not in node
    if compiler.document.openapi31 and text and "contentMediaType" in node and "contentEncoding" not in node:
        return not str(node["contentMediaType"]).endswith("json")
    return node.get("type") == "string" and node.get("format") in _FILE_FORMATS


def _kept(uploads: list[Part], field: _Field | None) -> list[Part]:
    return uploads if field is not None and field.many_files else uploads[:1]


def _file(name: str, part: Part, many: bool) -> FilePart:
    content_type = part.content_type or "application/octet-stream"
    return FilePart(sanitized(name), part.filename or "", content_type, part.data, many)


def _text(part: str | Part) -> str:
    return part if isinstance(part, str) else part.text()


def _split(body: bytes, media_type: str, parameters: Mapping[str, str]) -> dict[str, list[str | Part]]:
    fields: dict[str, list[str | Part]] = {}
    if not body:
        return fields
    charset = parameters.get("charset", "utf-8")
    if media_type == FORMS[1]:
        for part in parse_multipart(body, parameters.get("boundary", ""), charset):
            fields.setdefault(part.name, []).append(part)
        return fields
    try:
        return dict(parse_query(body.decode(charset)))  # type: ignore[arg-type]  # lists of texts are lists of values
    except (UnicodeDecodeError, LookupError) as err:
        raise Malformed(f"the body is not {charset} text") from err
