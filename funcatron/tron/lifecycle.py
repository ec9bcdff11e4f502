"""The life of a deployment: which stages it goes through upon what. One table; nothing here acts.

stored → validated → loading → serving → routed, and what served before is drained and retired. The Registry has the
stage that was reached last, so that another process goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from funcatron.errors import Conflict
from funcatron.stores.records import Deployment, Stage

NEW = ""
"""The stage of a deployment that there is not yet."""

RETIRED = "retired"
"""The stage of one that there is no more: it is nowhere but in the history."""

UNDER_WAY = frozenset({"stored", "validated", "loading", "serving"})
"""A version is on its way into service; what served before goes on."""

ENDS = frozenset({"routed", "failed", "disabled"})
"""Stages that last."""


class Move(StrEnum):
    """What happens to a deployment."""

    BEGIN = "begin"  # another version is wanted
    SERVE = "serve"  # a Runner serves it
    FAIL = "fail"  # none does
    GIVE_UP = "give up"  # it is not wanted any more: what serves stays
    SETTLE = "settle"  # of what serves, another gets the requests, or another share of them
    UNDEPLOY = "undeploy"  # it goes once it is drained
    DISABLE = "disable"  # it is drained, and stays to be enabled again
    RETIRE = "retire"  # nothing of it drains any more


def _from(stages: Iterable[str], *after: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(stages, after)


TABLE: Mapping[Move, Mapping[str, tuple[str, ...]]] = {
    Move.BEGIN: _from((NEW, "draining", *ENDS), "stored", "validated", "loading"),
    Move.SERVE: _from(UNDER_WAY, "serving", "routed"),
    Move.FAIL: _from(UNDER_WAY, "failed"),
    Move.GIVE_UP: _from(UNDER_WAY, "routed"),
    Move.SETTLE: _from(("routed", "failed"), "routed"),
    Move.UNDEPLOY: _from((*UNDER_WAY, *ENDS), "draining"),
    Move.DISABLE: _from((*UNDER_WAY, "routed", "failed"), "disabled"),
    Move.RETIRE: _from(("draining",), RETIRED),
}
"""For each move: from which stages it can be made, and which it goes through."""


def path(name: str, stage: str, move: Move, sha: str = "") -> tuple[str, ...]:
    """Return the stages that a deployment goes through by a move, the last of which it then has.

    sha: what it is or shall be. Raises Conflict that names the stage, where the move cannot be made.
    """
    found = TABLE[move].get(stage)
    if found is not None:
        return found
    if stage in UNDER_WAY:
        raise Conflict(
            f"{name} is being deployed with {sha[:8]} (stage {stage}); wait for it, or give it up by "
            f"`funcatron rollback {name}`"
        )
    raise Conflict(f"{name} cannot {move} now: its stage is {stage or 'none yet'}")


def check_free(deployment: Deployment) -> None:
    """Raise Conflict while a version is on its way into service."""
    if deployment.stage in UNDER_WAY:
        path(deployment.name, deployment.stage, Move.BEGIN, deployment.wanted.sha)


def walk(deployment: Deployment, stages: Sequence[str], now: float, told: Mapping[str, str]) -> Deployment:
    """Return a deployment as it is once it went through stages. `told` says more about some of them; of a failure it is
    the error."""
    for stage in stages:
        detail = told.get(stage, "")
        failed = stage == "failed"
        deployment = deployment.at(stage, now, "" if failed else detail, error=detail if failed else None)
    return deployment


def note(deployment: Deployment, stage: Stage) -> Deployment:
    """Return a deployment with one more line in the list of its stages, but in the same stage as before."""
    return replace(deployment, stages=(*deployment.stages, stage), updated=max(deployment.updated, stage.at))
