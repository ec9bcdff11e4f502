"""What a move of a deployment changes: one transaction of the Registry each. Pure; `now` is in s since 1970."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from funcatron.stores.change import Change
from funcatron.stores.records import Deployment, Draining, Event, Split, Stage, Version
from funcatron.tron.lifecycle import NEW, RETIRED, UNDER_WAY, Move, note, path, walk
from funcatron.tron.splits import told
from funcatron.tron.ways import Way


def begun(name: str, current: Deployment | None, wanted: Version, way: Way, stored: float, now: float) -> Change:
    """A version is on its way into service. stored: when its bundle came. Raises Conflict if another one is."""
    stage, sha = (current.stage, current.wanted.sha) if current is not None else (NEW, "")
    first, *others = path(name, stage, Move.BEGIN, sha)
    base = current if current is not None else Deployment(name, wanted, created=now)
    base = replace(base, wanted=wanted, enabled=True)
    new = walk(note(base, Stage(first, stored, wanted.sha)), others, now, {})
    event = Event(now, name, wanted.sha, way.what, "begun", told(way.split) if way.split else "")
    return Change(save=new, drained=(wanted.queue(name),), events=(event,), who=way.who)


def served(current: Deployment, way: Way, now: float, detail: str) -> Change:
    """The new version serves: the routes lead to it, and what they lead to no more is drained."""
    name, wanted = current.name, current.wanted
    shares = told(way.split) if way.split else ""
    new = walk(current, path(name, current.stage, Move.SERVE), now, {"serving": detail, "routed": shares})
    if way.split is None:
        new = replace(new, serving=wanted, split=None)
    else:
        assert current.serving is not None  # what serves has a share: that was asked before
        new = replace(new, wanted=current.serving, split=way.split)
    events = [Event(now, name, wanted.sha, way.what, "routed", "; ".join(filter(None, (shares, detail))))]
    return _changed(current, new, current.versions(), events, way.who, now)


def failed(current: Deployment, way: Way, now: float, error: str) -> Change:
    """The new version does not serve: what served before goes on."""
    new = walk(current, path(current.name, current.stage, Move.FAIL), now, {"failed": error})
    event = Event(now, current.name, current.wanted.sha, way.what, "failed", error)
    return _changed(current, new, (current.wanted,), [event], way.who, now, routes=False)


def settled(
    current: Deployment, to: Version | Split, way: Way, now: float, *, why: str = "", ended: str = "deploy"
) -> Change:
    """One of the versions that serve gets all requests, or both get other shares of them.

    What is under way is given up. why: nobody asked for it, and this is the reason. ended: what is given up.
    """
    name, under_way = current.name, current.stage in UNDER_WAY
    stages = path(name, current.stage, Move.GIVE_UP if under_way else Move.SETTLE, current.wanted.sha)
    version = to if isinstance(to, Version) else current.serving
    assert version is not None
    split = to if isinstance(to, Split) else None
    detail = why or (told(split) if split else "")
    new = replace(current, wanted=version, serving=version, split=split, enabled=True)
    new = walk(new, stages, now, {stages[-1]: detail})
    done = Event(now, name, version.sha, way.what, "routed", detail)
    if under_way:
        lost = [Event(now, name, current.wanted.sha, ended, "failed", f"given up by {way.who}")]
        return _changed(current, new, (*current.versions(), current.wanted), [*lost, done], way.who, now)
    out = [version for version in current.versions() if why and version not in new.versions()]
    lost = [Event(now, name, version.sha, "split", "failed", why) for version in out]
    return _changed(current, new, current.versions(), [*lost, done], way.who, now)


def left(current: Deployment, who: str, now: float, *, keep: bool) -> Change:
    """Nothing is routed to it any more, and all of it is drained. keep: it stays, to be enabled again."""
    name, move = current.name, Move.DISABLE if keep else Move.UNDEPLOY
    loading = (current.wanted,) if current.enabled and current.stage in UNDER_WAY else ()
    new = replace(current, enabled=False, serving=None, split=None)
    new = walk(new, path(name, current.stage, move), now, {})
    event = Event(now, name, current.wanted.sha, "disable" if keep else "undeploy", "begun")
    return _changed(current, new, (*current.versions(), *loading), [event], who, now)


def drained(current: Deployment | None, queue: Draining, now: float) -> Change:
    """A func queue is gone."""
    event = Event(now, queue.name, queue.sha, "drain", RETIRED)
    save = note(current, Stage("drained", now, queue.sha)) if current is not None else None
    return Change(save=save, drained=(queue.queue,), events=(event,))


def retired(current: Deployment, now: float) -> Change:
    """Nothing of an undeployed deployment drains any more: it is forgotten, but for its history."""
    (stage,) = path(current.name, current.stage, Move.RETIRE)
    event = Event(now, current.name, current.wanted.sha, "undeploy", stage)
    return Change(remove=current.name, events=(event,))


def _changed(
    current: Deployment,
    new: Deployment,
    before: Iterable[Version],
    events: Iterable[Event],
    who: str,
    now: float,
    *,
    routes: bool = True,
) -> Change:
    """Return the change with the queues that nothing of the deployment needs any more."""
    name = current.name
    needed = {version.queue(name) for version in new.versions()}
    gone = {version.queue(name): version.sha for version in before}
    drain = tuple(Draining(queue, name, sha, now) for queue, sha in gone.items() if queue not in needed)
    return Change(save=new, drain=drain, events=tuple(events), routes=routes, who=who)
