"""What somebody may have meant who gave a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from funcatron.errors import NotFound

COUNT = 3
"""How many names are offered at most."""

ALIKE = 0.6
"""How alike a name must be, from 0 to 1 (difflib's ratio)."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that are most like `name`, the nearest first; case does not count."""
    matcher = difflib.SequenceMatcher(None, "", name.casefold())  # what is second is looked at once for all
    found = []
    for one in set(known):
        matcher.set_seq1(one.casefold())
        if matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE:
            found.append((-matcher.ratio(), one))
    return [one for _, one in sorted(found)[:COUNT]]


def unknown(what: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the error for a name that there is not: it offers the nearest ones.

    what: "deployment", "runner" …
    """
    offered = [repr(one) for one in nearest(name, known)]
    hint = f"; did you mean {' or '.join([', '.join(offered[:-1]), offered[-1]] if offered[1:] else offered)}?"
    return NotFound(f"there is no {what} {name[:100]!r}{hint if offered else ''}")
