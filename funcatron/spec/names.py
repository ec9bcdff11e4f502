"""Names of arguments made from names in a spec, as Connexion's users know them."""

from __future__ import annotations

import builtins
import keyword
import re

_BRACKET = re.compile(r"\[(?!])")
_FORBIDDEN = re.compile(r"[^0-9a-zA-Z_]")
_LEADING = re.compile(r"^[^a-zA-Z_]+")
_ACRONYM = re.compile(r"([A-Z]+)([A-Z][a-z])")
_HUMP = re.compile(r"([a-z\d])([A-Z])")
_SHADOWED = frozenset(dir(builtins))


def sanitized(name: str) -> str:
    """Return `name` without what an identifier cannot have: `$query` → `query`, `letters[eq]` → `letters_eq`."""
    return _LEADING.sub("", _FORBIDDEN.sub("", _BRACKET.sub("_", name)))


def pythonic(name: str) -> str:
    """Return `name` in snake case, with `_` after it where it is a keyword or a builtin: `orderBy` → `order_by`."""
    snake = _HUMP.sub(r"\1_\2", _ACRONYM.sub(r"\1_\2", name)).replace("-", "_").lower()
    if snake in _SHADOWED or keyword.iskeyword(snake):
        snake += "_"
    return sanitized(snake)
