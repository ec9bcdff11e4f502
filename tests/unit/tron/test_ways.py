"""What the Registry remembers of deployments that are under way, and for which revision a change is."""

from __future__ import annotations

import asyncio

import pytest

from funcatron.errors import Stale, StoreError
from funcatron.stores.records import Deployment, Guard, Share, Split, Version
from funcatron.tron.ways import FACT, Asked, Way, Ways

A, B = (Version(sha * 64, None, "/hello", {"k": 1}) for sha in "ab")
SPLIT = Split((Share(A, 90), Share(B, 10)), "x-user", Guard(0.05, 60.0))
WAY = Way("split", "ann@laptop", B.sha, SPLIT, 30.0)


class Facts:
    """What a Registry remembers. `slow` holds writes up, `broken` refuses them."""

    def __init__(self):
        self.facts, self.slow, self.broken = {}, None, False

    async def fact(self, name):
        return self.facts.get(name)

    async def remember(self, name, value):
        if self.slow is not None:
            await self.slow.wait()
        if self.broken:
            raise StoreError("the Registry failed")
        self.facts[name] = value


def under_way(name="hello", version=B, stage="loading"):
    return Deployment(name, version, serving=A, stage=stage)


async def test_a_way_is_the_same_for_another_tron():
    facts = Facts()
    await Ways(lambda: facts).keep("hello", WAY)
    other = Ways(lambda: facts)
    await other.load({"hello": under_way()})
    assert other.of(under_way()) == WAY


@pytest.mark.parametrize(
    "deployments",
    [{}, {"hello": under_way(stage="routed")}, {"hello": under_way(version=A)}],
    ids=["it is gone", "it has ended", "it is another one"],
)
async def test_what_is_under_way_no_more_is_forgotten(deployments):
    facts = Facts()
    await Ways(lambda: facts).keep("hello", WAY)
    other = Ways(lambda: facts)
    await other.load(deployments)
    assert other.of(under_way()) == Way("deploy", "tron", B.sha)
    await other.keep("another", Way(sha=A.sha))
    assert set(facts.facts[FACT]) == {"another"}


async def test_of_two_that_begin_at_once_both_are_remembered():
    facts = Facts()
    facts.slow = asyncio.Event()
    ways = Ways(lambda: facts)
    both = asyncio.gather(ways.keep("one", WAY), ways.keep("two", WAY))
    await asyncio.sleep(0)
    facts.slow.set()
    await both
    assert set(facts.facts[FACT]) == {"one", "two"}


async def test_a_way_that_could_not_be_written_is_not_known():
    facts = Facts()
    facts.broken = True
    ways = Ways(lambda: facts)
    with pytest.raises(StoreError):
        await ways.keep("hello", WAY)
    assert ways.of(under_way()).split is None


@pytest.mark.parametrize(
    ("asked", "revision", "fresh"),
    [
        (Asked(), None, True),
        (Asked(), 7, True),
        (Asked(revisions=frozenset({7})), 7, True),
        (Asked(revisions=frozenset({6, 7})), 7, True),
        (Asked(revisions=frozenset({6})), 7, False),
        (Asked(revisions=frozenset()), 7, False),
        (Asked(revisions=frozenset({0})), None, True),
        (Asked(revisions=frozenset({0})), 7, False),
        (Asked(existing=True), None, False),
        (Asked(existing=True), 7, True),
    ],
)
def test_a_change_is_for_the_revisions_that_were_named(asked, revision, fresh):
    current = Deployment("hello", A, revision=revision) if revision else None
    if fresh:
        asked.check("hello", current)
    else:
        with pytest.raises(Stale, match="hello"):
            asked.check("hello", current)
