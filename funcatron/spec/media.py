"""Media types: reading the header, and finding the entry of a spec that fits."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

Category = Literal["json", "urlencoded", "multipart", "text", "other"]
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def parse(header: str) -> tuple[str, dict[str, str]]:
    """Return the media type in lower case, and its parameters: `text/plain; charset="x"` → text/plain, {charset: x}."""
    kind, _, rest = header.partition(";")
    parameters: dict[str, str] = {}
    for part in rest.split(";") if rest else ():
        name, equals, value = part.partition("=")
        if equals:
            parameters[name.strip().lower()] = value.strip().strip('"')
    return kind.strip().lower(), parameters


def category(media_type: str) -> Category:
    """Return how a body of this type is read."""
    if media_type.endswith("json"):
        return "json"
    if media_type == FORMS[0]:
        return "urlencoded"
    if media_type == FORMS[1]:
        return "multipart"
    return "text" if media_type.startswith("text/") else "other"


class MediaRanges:
    """The media types and ranges of a spec; the most specific that fits is found (OpenAPI 3.0.3 section 4.7.13)."""

    __slots__ = ("_exact", "_known", "_ranges", "keys")

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        bare = {parse(key)[0]: key for key in reversed(self.keys)}
        self._exact = {kind: key for kind, key in bare.items() if "*" not in kind}
        self._ranges = sorted((kind for kind in bare if "*" in kind), reverse=True)
        self._known = bare

    def find(self, media_type: str) -> str | None:
        """Return the key whose type or range `media_type` (lower case) belongs to."""
        key = self._exact.get(media_type)
        if key is None:
            for pattern in self._ranges:
                if fnmatchcase(media_type, pattern):
                    return self._known[pattern]
        return key
