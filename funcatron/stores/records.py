"""What the Registry keeps, as values. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from funcatron.errors import BadSettings, Conflict, NotFound
from funcatron.message.topology import func_queue

T = TypeVar("T")

STAGES = ("stored", "validated", "loading", "serving", "routed", "draining", "failed", "disabled")
"""The stages of a deployment, in the order of a life; `routed` is the steady state, the last two are ends.
The list of its past stages also has `drained`, when a version that served before is gone."""

KEPT_STAGES = 40
"""How many past stages a deployment keeps; its whole past is in the history."""

SHA_DIGITS = 4
"""How many digits of a SHA must be given at least."""


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A Func bundle in the Blob store, and what its spec says. `base_path` is "/" or "/x/y"."""

    sha: str
    kind: str
    name: str
    host: str | None
    base_path: str
    size: int
    title: str = ""
    version: str = ""
    operations: tuple[Mapping[str, Any], ...] = ()
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """One SHA of a deployment with the environment, properties and settings that it is run with."""

    sha: str
    host: str | None
    base_path: str
    props: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: str = ""

    def queue(self, name: str) -> str:
        """Return the func queue of this version in deployment `name`."""
        return func_queue(name, self.sha)

    @property
    def where(self) -> tuple[str, str]:
        """Its host, or "", and its base path."""
        return self.host or "", self.base_path

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for the Registry."""
        return {
            "sha": self.sha,
            "host": self.host,
            "base_path": self.base_path,
            "props": dict(self.props),
            "settings": dict(self.settings),
            "environment": self.environment,
        }


@dataclass(frozen=True, slots=True)
class Share:
    """A version and how many of a hundred requests it gets."""

    version: Version
    percent: int


@dataclass(frozen=True, slots=True)
class Guard:
    """When a split ends by itself: once more than `error_rate` (0 to 1) of the new version's answers of the last
    `window` seconds are errors."""

    error_rate: float
    window: float


@dataclass(frozen=True, slots=True)
class Split:
    """Two versions of a deployment that serve side by side, at one host and base path.

    sticky: the header whose value decides which version a request gets; None for the request id. guard: what ends the
    split in favour of what served before.
    """

    shares: tuple[Share, ...]
    sticky: str | None = None
    guard: Guard | None = None

    def check(self) -> None:
        """Raise BadSettings that names every fault of it."""
        problems = [*_wrong_shares(self.shares), *(_wrong_guard(self.guard) if self.guard else ())]
        if self.sticky is not None and not self.sticky.replace("-", "").replace("_", "").isalnum():
            problems.append(f"{self.sticky!r} is no name of a header")
        if problems:
            raise BadSettings("the split is wrong", problems)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for the Registry."""
        return {
            "shares": [{**share.version.as_json(), "percent": share.percent} for share in self.shares],
            "sticky": self.sticky,
            "guard": {"error_rate": self.guard.error_rate, "window": self.guard.window} if self.guard else None,
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Split:
        """Return what `as_json` made."""
        shares = []
        for share in value["shares"]:
            version = {name: given for name, given in share.items() if name != "percent"}
            shares.append(Share(Version(**version), share["percent"]))
        return cls(tuple(shares), value["sticky"], Guard(**value["guard"]) if value["guard"] else None)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that a deployment reached, when, with which SHA, and a sentence if there is more to say."""

    stage: str
    at: float
    sha: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle bound to a name. `wanted` is what shall serve; `serving` what the routes lead to now, if anything;
    `split`, if two versions serve, has both, `serving` among them."""

    name: str
    wanted: Version
    enabled: bool = True
    serving: Version | None = None
    stage: str = "stored"
    stages: tuple[Stage, ...] = ()
    error: str | None = None
    created: float = 0.0
    updated: float = 0.0
    revision: int = 0
    split: Split | None = None

    def at(self, stage: str, now: float, detail: str = "", error: str | None = None) -> Deployment:
        """Return the deployment as it is once `stage` is reached."""
        stages = (*self.stages, Stage(stage, now, self.wanted.sha, detail))[-KEPT_STAGES:]
        return replace(self, stage=stage, stages=stages, error=error, updated=now)

    def versions(self) -> tuple[Version, ...]:
        """Return every version that serves, what `serving` says first."""
        if self.serving is None:
            return ()
        more = [share.version for share in self.split.shares if share.version != self.serving] if self.split else []
        return (self.serving, *more)

    def claims(self) -> set[tuple[str, str]]:
        """Return each (host or "", base path) that nobody else may have."""
        held = {version.where for version in self.versions()}
        if self.enabled and self.stage != "failed":
            held.add(self.wanted.where)
        return held

    def check(self) -> None:
        """Raise BadSettings if its split cannot be."""
        if self.split is None:
            return
        self.split.check()
        if self.serving is None or self.serving not in [share.version for share in self.split.shares]:
            raise BadSettings("the split is wrong", [f"what serves {self.name} now has no share of it"])


@dataclass(frozen=True, slots=True)
class Draining:
    """A func queue on its way out: no route leads to it any more, and it goes once it is empty."""

    queue: str
    name: str
    sha: str
    since: float


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a deployment's history: who did what, when, to which version, and what came of it.

    What is not given is taken from the change that the event comes with: `who`, and the environment, properties and
    settings of the version with its SHA. Secrets among them are masked when it is written. `id` is the Registry's.
    """

    at: float
    name: str
    sha: str
    what: str
    outcome: str
    detail: str = ""
    who: str = ""
    environment: str | None = None
    props: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Served:
    """A version that has served under a name, and since when."""

    version: Version
    since: float


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list. `next`: what to ask the following part with; None at the end."""

    items: tuple[T, ...]
    next: str | None = None


def earlier(name: str, served: Sequence[Served], now: Version | None, sha: str | None = None) -> Version:
    """Return the version to go back to: the last that served before `now`, or the last whose SHA begins with `sha`.

    served: the newest first. Raises NotFound that names the SHAs there are, Conflict when several fit.
    """
    others = [one.version for one in served if one.version != now]
    fit = [version for version in others if sha is None or version.sha.startswith(sha.lower())]
    if sha is not None and len({version.sha for version in fit}) > 1:
        raise Conflict(f"{sha!r} fits several versions of {name}: {_short(fit)}")
    if not fit or (sha is not None and len(sha) < SHA_DIGITS):
        what = "none" if sha is None else f"none with a SHA that begins with {sha[:64]!r}"
        there = f"there are {_short(others)}" if others else "nothing else served before"
        raise NotFound(f"{name} has no earlier version to go back to, {what}: {there}")
    return fit[0]


def _short(versions: Sequence[Version]) -> str:
    return ", ".join(dict.fromkeys(version.sha[:8] for version in versions))


def _wrong_shares(shares: Sequence[Share]) -> list[str]:
    problems = []
    if len(shares) != 2 or len({share.version.sha for share in shares}) != 2:
        problems.append(
            f"it needs two versions with different SHAs, not {_short([s.version for s in shares]) or 'none'}"
        )
    if any(not _whole(share.percent) or not 0 <= share.percent <= 100 for share in shares):
        problems.append("each share must be a whole number from 0 to 100")
    elif sum(share.percent for share in shares) != 100:
        told = " + ".join(str(share.percent) for share in shares) or "0"
        problems.append(f"the shares must be 100 in all, not {told} = {sum(share.percent for share in shares)}")
    if len({share.version.where for share in shares}) > 1:
        told = " and ".join(f"{host or 'any host'}{path}" for host, path in (share.version.where for share in shares))
        problems.append(f"both versions must be at one host and base path, not at {told}")
    return problems


def _wrong_guard(guard: Guard) -> list[str]:
    problems = []
    if not 0 <= guard.error_rate < 1:
        problems.append("the error rate must be from 0 up to, but not, 1")
    if not 1 <= guard.window <= 3600:
        problems.append("the window must be from 1 to 3600 s")
    return problems


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
