"""Splits of a deployment's requests between two versions: what is asked for, what becomes of it, when it ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from funcatron.errors import BadSettings, Conflict, NotFound
from funcatron.stores.nearest import nearest
from funcatron.stores.records import SHA_DIGITS, Deployment, Guard, Share, Split, Version

LEAST_ERRORS = 3
"""So many answers must be errors before a split ends by itself: one of two says nothing about a version."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A split as it is asked for: by SHAs, or how they begin, and percentages. sticky: a header, None for the request
    id."""

    shares: tuple[tuple[str, int], ...]
    sticky: str | None = None
    guard: Guard | None = None


def compose(current: Deployment, wish: Wish, versions: Sequence[Version]) -> Split:
    """Return the split of a wish, whose SHAs are those of `versions`, in order; what serves now comes first.

    Raises BadSettings that names every fault.
    """
    shares = [Share(version, percent) for version, (_, percent) in zip(versions, wish.shares, strict=True)]
    shares.sort(key=lambda share: share.version != current.serving)  # who stays has the lower numbers: see `choose`
    split = Split(tuple(shares), wish.sticky.lower() if wish.sticky else None, wish.guard)
    split.check()
    if current.serving not in [share.version for share in split.shares]:
        serving = current.serving.sha[:8] if current.serving else "nothing"
        raise BadSettings("the split is wrong", [f"{serving}, which serves {current.name} now, must have a share"])
    if len({share.version.queue(current.name) for share in split.shares}) != len(split.shares):
        raise BadSettings("the split is wrong", ["both SHAs begin with the same 8 digits, which name the func queue"])
    return split


def newcomer(current: Deployment, split: Split) -> Version:
    """Return the version of a split that is not what serves."""
    return next(share.version for share in split.shares if share.version != current.serving)


def pick(name: str, versions: Iterable[Version], sha: str) -> Version:
    """Return the version whose SHA begins with `sha`. Raises NotFound that names those there are."""
    versions = list(versions)
    found = [version for version in versions if fits(version.sha, sha)]
    if len(found) > 1:
        raise Conflict(f"{sha!r} fits several versions of {name}: give more digits")
    if found:
        return found[0]
    raise unknown_sha(f"{name} serves no version", sha, [version.sha for version in versions])


def fits(sha: str, beginning: str) -> bool:
    """Tell whether a SHA is the one that is meant by its beginning."""
    return len(beginning) >= SHA_DIGITS and sha.startswith(beginning.lower())


def unknown_sha(what: str, sha: str, known: Sequence[str]) -> NotFound:
    """Return the error for a SHA that there is not; it names the nearest ones that there are, or else a few.

    what: "there is no bundle" …
    """
    by_beginning: dict[str, str] = {}
    for one in known:
        by_beginning.setdefault(one[: max(len(sha), SHA_DIGITS)], one)
    offered = [by_beginning[one][:8] for one in nearest(sha, by_beginning)] or [one[:8] for one in known]
    hint = f": there is {' and '.join(list(dict.fromkeys(offered))[:5])}" if offered else ""
    digits = f" ({SHA_DIGITS} digits at least)" if len(sha) < SHA_DIGITS else ""
    return NotFound(f"{what} with a SHA that begins with {sha[:64]!r}{digits}{hint}")


def told(split: Split) -> str:
    """Return a split in words."""
    shares = ", ".join(f"{share.percent} % {share.version.sha[:8]}" for share in split.shares)
    return shares + (f", by the header {split.sticky}" if split.sticky else "")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests a version settled, and how many of these failed: answered 5xx, or dead-lettered."""

    settled: int = 0
    failed: int = 0

    @classmethod
    def of(cls, counters: Mapping[str, float]) -> Tally:
        """Return what the counters of a func queue say (`statistics.Totals`)."""
        answered = sum(count for name, count in counters.items() if name.startswith("answered:"))
        buried = counters.get("dead-lettered", 0) - counters.get("both", 0)
        discarded = counters.get("discarded", 0) - counters.get("error:expired", 0)
        return cls(int(answered + buried + discarded), int(counters.get("answered:5xx", 0) + buried))

    def since(self, earlier: Tally) -> Tally:
        """Return what came to it since an earlier one."""
        return Tally(self.settled - earlier.settled, self.failed - earlier.failed)

    @property
    def rate(self) -> float | None:
        """The share of errors, 0 to 1; None if nothing was settled."""
        return self.failed / self.settled if self.settled > 0 else None


def verdict(guard: Guard, old: Tally, new: Tally) -> str | None:
    """Return why a split is to end in favour of what served before, or None if it may go on.

    old, new: what both versions did in the guard's window. The new one must fail more often than is allowed, and more
    often than the old one: where both fail alike, the cause is another, and going back helps nobody.
    """
    rate, before = new.rate, old.rate
    if rate is None or new.failed < LEAST_ERRORS or rate <= guard.error_rate:
        return None
    if before is not None and before >= rate:
        return None
    beside = f", of what served before {before:.1%}" if before is not None else ""
    return (
        f"{rate:.1%} of {new.settled} answers in {guard.window:g} s were errors, more than the {guard.error_rate:.1%} "
        f"that are allowed{beside}"
    )


@dataclass(slots=True)
class Watch:
    """What both versions of a split did lately. `look` is called again and again, with totals that only grow."""

    guard: Guard
    _seen: list[tuple[float, Tally, Tally]] = field(default_factory=list)

    def look(self, now: float, old: Tally, new: Tally) -> str | None:
        """Take the totals of a moment (s, of a steady clock); return why the split is to end, or None."""
        self._seen.append((now, old, new))
        while len(self._seen) > 1 and now - self._seen[1][0] >= self.guard.window:
            del self._seen[0]
        _, old_before, new_before = self._seen[0]
        return verdict(self.guard, old.since(old_before), new.since(new_before))
