"""JSON of whatever a Func returns: the standard types, and by their looks dataclasses, pydantic, attrs, numpy …"""

from __future__ import annotations

import json
import json.encoder
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def default(value: Any) -> Any:
    """Return something that JSON knows in place of `value`. Follows Connexion 3: times by RFC 3339, a naive one is UTC,
    Decimal as a number, UUID as text. Raises TypeError."""
    made = _standard(value)
    if made is not value:
        return made
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if callable(getattr(value, "model_dump", None)):  # pydantic 2
        return value.model_dump(mode="json")
    if hasattr(value, "__fields__") and callable(getattr(value, "dict", None)):  # pydantic 1
        return value.dict()
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}
    for name in ("__json__", "tolist", "__html__"):  # simplejson's and numpy's ways, markupsafe's
        method = getattr(value, name, None)
        if callable(method) and not isinstance(value, type):
            return method()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be made JSON")


def _standard(value: Any) -> Any:
    """Types of the standard library; `value` itself when it is none. Their modules are not imported for this:
    a value of such a type can only be there when its module is."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    module, name = type(value).__module__, _base_name(value)
    if name in ("datetime", "date", "time"):
        text = value.isoformat()
        return text + "Z" if name == "datetime" and value.tzinfo is None else text
    if name == "timedelta":
        return value.total_seconds()
    if name == "Decimal":
        return float(value)
    if name in ("UUID", "PurePath"):
        return str(value)
    if name in ("deque", "UserList"):
        return list(value)
    if name in ("mappingproxy", "UserDict") or module == "collections.abc":
        return dict(value)
    return value


_NAMES = {
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("decimal", "Decimal"),
    ("uuid", "UUID"),
    ("pathlib", "PurePath"),
    ("pathlib._local", "PurePath"),
    ("collections", "deque"),
    ("collections", "UserList"),
    ("collections", "UserDict"),
    ("builtins", "mappingproxy"),
}


def _base_name(value: Any) -> str:
    """The name of the first known class that `value` is an instance of; "" for none."""
    for kind in type(value).__mro__:
        if (kind.__module__, kind.__name__) in _NAMES:
            return kind.__name__
    return ""


def _compiled() -> Callable[[Any], str]:
    """The C encoder, made once in place of once a call; the plain one where this Python's is another."""
    plain = json.JSONEncoder(default=default, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    try:
        c = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, default, json.encoder.encode_basestring, None, ":", ",", False, False, False
        )
        if "".join(c({"a": [1, "ü"]}, 0)) == '{"a":[1,"ü"]}':
            return lambda value: "".join(c(value, 0)) if type(value) in (dict, list) else plain(value)
    except TypeError:
        pass
    return plain


_encode = _compiled()


def dumps(value: Any) -> bytes:
    """Return `value` as JSON, with a line end. Raises TypeError, ValueError (NaN, cycles) or RecursionError."""
    try:
        return (_encode(value) + "\n").encode()
    except UnicodeEncodeError:  # half a surrogate pair: only escapes can carry it
        return (json.dumps(value, default=default, allow_nan=False, separators=(",", ":")) + "\n").encode()
