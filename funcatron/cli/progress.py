"""What commands show of deployments: the stages as they are reached, how it ended, and the state in a word."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from funcatron.cli import output
from funcatron.errors import FuncatronError, NotFound

if TYPE_CHECKING:
    from funcatron.client import Client

Json = dict[str, Any]


class Progress:
    """Shows each stage that a deployment reaches, once. before: what it was like before, whose stages are old."""

    def __init__(self, say: output.Say, before: Json | None) -> None:
        self._say = say
        self._seen = {_key(stage) for stage in (before or {}).get("stages", ())}
        self._draining = {one["queue"] for one in (before or {}).get("draining", ())}
        self._detail: str | None = None

    def show(self, now: Json) -> None:
        """Show what is new."""
        for stage in now.get("stages", ()):
            if _key(stage) not in self._seen:
                self._seen.add(_key(stage))
                self._say(f"  {told(stage)}")
        if now.get("detail") and now["detail"] != self._detail:
            self._detail = now["detail"]
            self._say(f"  … {now['detail']}")
        for one in now.get("draining", ()):
            if one["queue"] not in self._draining:
                self._draining.add(one["queue"])
                self._say(f"  {one['sha'][:8]} is being drained")


def told(stage: Json) -> str:
    """Return a stage in a line."""
    if stage["stage"] == "drained":  # another version has gone; the deployment's stage is what it was
        return f"{stage['sha'][:8]} is drained and gone"
    return str(stage["stage"]) + (f": {stage['detail']}" if stage["detail"] else "")


def existing(tron: Client, name: str) -> Json | None:
    """Return a deployment, if there is one with that name."""
    try:
        return tron.deployment(name)
    except NotFound:
        return None


def served(done: Json, what: str) -> Json:
    """Return a deployment whose way into service has ended well. Raises FuncatronError that says why it did not.

    what: "deployed", "rolled back" …
    """
    name, stage = done["name"], done["stage"]
    if stage == "routed":
        return done
    still = f"\n{done['serving'][:8]} goes on serving" if done.get("serving") else ""
    if stage == "failed":
        raise FuncatronError(f"{name} could not be {what}: {done['error']}{still}")
    raise FuncatronError(
        f"{name} does not serve yet, it is {stage} ({done.get('detail') or 'no detail'}); it goes on: see "
        f"`funcatron describe {name}`{still}"
    )


def condition(one: Json) -> str:
    """Return the stage of a deployment, or what is worse."""
    return "parked" if one.get("parked") else str(one["stage"])


def shas(one: Json) -> str:
    """Return the SHA of a deployment, or both with their shares."""
    if not one.get("split"):
        return str(one["sha"][:8])
    return " ".join(f"{share['sha'][:8]}={share['percent']}" for share in one["split"]["shares"])


def split_told(split: Json) -> str:
    """Return a split in words."""
    told = ", ".join(f"{share['percent']} % {share['sha'][:8]}" for share in split["shares"])
    told += f", by the {split['sticky'].replace(':', ' ')}"
    if split["rollback-above"] is None:
        return told
    return f"{told}, until more than {split['rollback-above']:.4g} of the answers in {split['window']:g} s are errors"


def local_time(text: str) -> str:
    """Return an RFC 3339 time in local time."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _key(stage: Json) -> tuple[str, str, str]:
    return stage["stage"], stage["at"], stage["sha"]
