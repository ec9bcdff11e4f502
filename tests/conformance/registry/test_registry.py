"""What the Registry keeps, on each database."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from funcatron.errors import BadSettings, Conflict, NotFound, SettingsError, Stale, StoreError
from funcatron.stores.idempotency import AGE, Answer
from funcatron.stores.records import Deployment, Draining, Event, Guard, Share, Split
from funcatron.stores.redact import MASK
from funcatron.stores.registry import Change, Registry
from funcatron.stores.scaling import Decision, Scaling
from funcatron.stores.sql import decisions as kept_decisions
from funcatron.stores.sql import versions as kept_versions
from tests.conformance.registry.conftest import A, B, C, record, saved, version

# bundles and deployments


async def test_a_bundle_is_remembered_once(registry):
    assert not await registry.add_bundle(record())
    assert await registry.bundle(A) == record()
    assert await registry.bundle("d" * 64) is None


async def test_bundles_are_found_by_the_beginning_of_their_sha_only(registry):
    assert await registry.bundles("aaaa") == [record()]
    assert await registry.bundles("%") == []
    assert len(await registry.bundles()) == 3


async def test_everything_is_there_again_after_reopening(registry, store):
    split = Split((Share(version(A), 90), Share(version(B, color="blue"), 10)), "X-User", Guard(0.05, 60.0))
    one = Deployment("hello", version(B, color="blue"), serving=version(), split=split, created=1.0)
    one = await saved(registry, one.at("loading", 2.0, "d").at("routed", 3.0), drain=(Draining("q", "hello", B, 4.0),))
    await registry.remember("statsd", {"host": "h", "port": 1})
    scaling = await registry.set_scaling("hello", Scaling(min=1, max=5, target_wait=0.1, warm=2, idle=60.0))
    await registry.close()
    again = await store.registry()
    assert await again.deployments() == [one]
    assert await again.draining() == [Draining("q", "hello", B, 4.0)]
    assert await again.fact("statsd") == {"host": "h", "port": 1}
    assert await again.scaling("hello") == scaling
    assert [served.version for served in await again.versions("hello")] == [version(), version(B, color="blue")]


async def test_a_host_and_base_path_belongs_to_one_deployment_and_the_owner_is_named(registry):
    await saved(registry, Deployment("one", version()))
    with pytest.raises(Conflict, match="any host/hello belongs to the deployment one"):
        await saved(registry, Deployment("two", version(B)))
    assert [one.name for one in await registry.deployments()] == ["one"]
    await saved(registry, Deployment("two", version(B, host="h")))


async def test_a_version_that_serves_keeps_its_path_while_another_is_loaded(registry):
    one = await saved(registry, Deployment("one", version(path="/new"), serving=version(path="/old")))
    for path in ("/old", "/new"):
        with pytest.raises(Conflict, match="one"):
            await saved(registry, Deployment("two", version(B, path)))
    await saved(registry, one.at("failed", 1.0, error="x"))
    await saved(registry, Deployment("two", version(B, "/new")))


async def test_a_deployment_that_somebody_else_changed_is_not_overwritten(registry):
    one = await saved(registry, Deployment("one", version()))
    await saved(registry, one.at("routed", 1.0))
    with pytest.raises(Conflict, match=r"changed by somebody else.* its stage is routed, with aaaaaaaa"):
        await saved(registry, one.at("failed", 1.0))


async def test_a_change_is_made_whole_or_not_at_all(registry):
    event = Event(1.0, "one", A, "deploy", "begun")
    stale = Deployment("one", version(), serving=version(), revision=7)
    with pytest.raises(Conflict):
        await registry.apply(Change(save=stale, events=(event,), routes=True, drain=(Draining("q", "one", A, 1.0),)))
    assert await registry.history() == []
    assert await registry.draining() == []
    assert await registry.versions("one") == []
    assert (await registry.routes_state())[1] == 0


async def test_the_same_change_made_twice_is_made_once(registry):
    event = Event(1.0, "one", A, "deploy", "routed")
    change = Change(save=Deployment("one", version(), serving=version()), events=(event,), routes=True)
    first = await registry.apply(change)
    assert await registry.apply(change) == first
    removal = Change(remove="one", events=(replace(event, what="undeploy"),))
    await registry.apply(removal)
    await registry.apply(removal)
    assert [one.what for one in await registry.history()] == ["undeploy", "deploy"]
    assert (await registry.routes_state())[1] == 1


async def test_writers_wait_for_each_other(registry, store):
    other = await store.registry()
    event = Event(1.0, "one", A, "deploy", "begun")
    both = [registry, other] * 20
    await asyncio.gather(*(one.apply(Change(events=(event,), routes=True)) for one in both))
    assert (await registry.routes_state())[1] == 40
    assert len(await registry.history("one", 1000)) == 40


async def test_of_two_who_deploy_one_name_at_once_one_wins_and_the_other_is_told_the_stage(registry, store):
    other = await store.registry()
    for round_ in range(10):
        name, path = f"n{round_}", f"/{round_}"
        both = [Deployment(name, version(sha, path)).at("loading", 1.0) for sha in (A, B)]
        jobs = [saved(each, one) for each, one in zip((registry, other), both, strict=True)]
        found = await asyncio.gather(*jobs, return_exceptions=True)
        lost = [one for one in found if isinstance(one, Conflict)]
        won = [one for one in found if isinstance(one, Deployment)]
        assert (len(won), len(lost)) == (1, 1)
        assert "loading" in str(lost[0])
        assert won[0] in await registry.deployments()


async def test_a_bundle_that_is_not_stored_cannot_be_deployed(registry):
    with pytest.raises(Conflict):
        await saved(registry, Deployment("one", version("d" * 64)))
    assert await registry.deployments() == []


# splits and versions


async def test_a_split_that_cannot_be_changes_nothing(registry):
    one = await saved(registry, Deployment("one", version(), serving=version()))
    split = Split((Share(version(), 90), Share(version(B, "/elsewhere"), 20)))
    with pytest.raises(BadSettings) as raised:
        await saved(registry, replace(one, split=split))
    assert raised.value.problems == (
        "the shares must be 100 in all, not 90 + 20 = 110",
        "both versions must be at one host and base path, not at any host/hello and any host/elsewhere",
    )
    with pytest.raises(BadSettings, match="what serves one now has no share"):
        await saved(registry, replace(one, split=Split((Share(version(B), 50), Share(version(C), 50)))))
    assert await registry.deployments() == [one]


async def test_what_served_before_is_found_with_its_properties_and_settings(registry):
    one = await saved(registry, Deployment("one", version(A, color="red"), serving=version(A, color="red")))
    one = await saved(registry, replace(one, wanted=version(B), serving=version(B)))
    one = await saved(registry, replace(one, stage="routed"))
    assert await registry.earlier("one") == version(A, color="red")
    one = await saved(registry, replace(one, wanted=version(C), serving=version(C)))
    assert await registry.earlier("one") == version(B)
    assert await registry.earlier("one", "aaaa") == version(A, color="red")
    assert [served.version.sha for served in await registry.versions("one")] == [C, B, A]


async def test_nothing_to_go_back_to_is_told_with_what_there_is(registry):
    one = await saved(registry, Deployment("one", version(), serving=version()))
    with pytest.raises(NotFound, match="nothing else served before"):
        await registry.earlier("one")
    await saved(registry, replace(one, wanted=version(B), serving=version(B)))
    with pytest.raises(NotFound, match="begins with 'dddd': there are aaaaaaaa"):
        await registry.earlier("one", "dddd")
    with pytest.raises(NotFound, match="no deployment 'oen'; did you mean 'one'"):
        await registry.earlier("oen")


async def test_versions_are_kept_up_to_a_number_and_forgotten_with_their_deployment(registry, monkeypatch):
    monkeypatch.setattr(kept_versions, "KEPT", 3)
    one = Deployment("one", version())
    for number in range(6):
        one = await saved(registry, replace(one, serving=version(number=number), updated=float(number)))
    assert [served.since for served in await registry.versions("one")] == [5.0, 4.0, 3.0]
    await registry.apply(Change(remove="one"))
    assert await registry.versions("one") == []


# history


async def test_an_event_says_who_did_what_to_which_version(registry):
    event = Event(2.0, "one", A, "deploy", "begun", "a detail")
    await saved(registry, Deployment("one", version()), events=(event,), who="ann@laptop")
    await registry.apply(Change(events=(Event(3.0, "one", A, "drain", "retired"),)))
    drained, deployed = await registry.history("one")
    assert deployed == replace(event, who="ann@laptop", environment="test", props={"p": 1}, settings={"timeout": 3})
    assert drained == Event(3.0, "one", A, "drain", "retired", who="tron", environment="", props={}, settings={})


async def test_secrets_are_never_written_into_the_history(registry):
    props = {"db_password": "hunter2", "url": "https://u:hunter2@h/", "inner": {"apiKey": "hunter2"}, "color": "blue"}
    event = Event(2.0, "one", A, "deploy", "failed", "no answer from amqp://u:hunter2@h/ in time")
    await saved(registry, Deployment("one", version(**props)), events=(event,))
    (written,) = await registry.history()
    assert "hunter2" not in str(written)
    assert written.props == {
        "db_password": MASK,
        "url": f"https://u:{MASK}@h/",
        "inner": {"apiKey": MASK},
        "color": "blue",
    }
    assert (await registry.deployments())[0].wanted.props == props


async def test_the_history_is_told_newest_first_by_name_and_in_pages(registry):
    for at in range(7):
        await registry.apply(Change(events=(Event(float(at), "two" if at == 3 else "one", A, "deploy", "begun"),)))
    assert [one.at for one in await registry.history("one", 3)] == [6.0, 5.0, 4.0]
    seen, cursor = [], None
    while True:
        page = await registry.history_page("one", 2, cursor)
        seen.append([one.at for one in page.items])
        if page.next is None:
            break
        cursor = page.next
        await registry.apply(Change(events=(Event(9.0, "one", A, "deploy", "begun"),)))  # moves no later page
    assert seen == [[6.0, 5.0], [4.0, 2.0], [1.0, 0.0]]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1e3", "9" * 30, "٣"])
async def test_a_cursor_that_is_none_says_so(registry, cursor):
    with pytest.raises(BadSettings, match="no cursor"):
        await registry.history_page(None, 10, cursor)


async def test_texts_that_a_database_cannot_keep_are_kept_as_well_as_it_can(registry):
    event = Event(1.0, "one", A, "deploy", "failed", "a\0b")
    failed = Deployment("one", version()).at("failed", 1.0, "c\0d", error="e\0f")
    await saved(registry, failed, events=(event,))
    assert (await registry.deployments())[0].error == "e\ufffdf"
    assert (await registry.history())[0].detail == "a\ufffdb"


# scaling


async def test_scaling_settings_change_without_a_redeploy_and_are_in_the_history(registry):
    one = await saved(registry, Deployment("one", version(), stage="loading"))
    assert await registry.scaling("one") == Scaling()
    first = await registry.set_scaling("one", Scaling(min=0, max=20, target_wait=0.1), revision=0, who="ann@laptop")
    assert first == Scaling(min=0, max=20, target_wait=0.1, revision=1)
    second = await registry.set_scaling("one", Scaling(max=5), revision=1)
    assert await registry.scaling("one") == second == Scaling(max=5, revision=2)
    assert await registry.scalings() == {"one": second}
    assert await registry.deployments() == [one]
    event = (await registry.history("one"))[-1]
    assert (event.what, event.who, event.detail) == ("scale", "ann@laptop", "min 0, max 20, target-wait 0.1")


async def test_settings_that_somebody_else_changed_are_not_overwritten(registry):
    await saved(registry, Deployment("one", version()))
    await registry.set_scaling("one", Scaling(min=1))
    with pytest.raises(Stale, match="revision 1, not 0"):
        await registry.set_scaling("one", Scaling(min=2), revision=0)
    assert await registry.scaling("one") == Scaling(min=1, revision=1)


async def test_settings_that_do_not_fit_or_of_nobody_are_refused(registry):
    await saved(registry, Deployment("petstore", version()))
    with pytest.raises(BadSettings, match="min 3 is over max 2"):
        await registry.set_scaling("petstore", Scaling(min=3, max=2))
    with pytest.raises(NotFound, match="no deployment 'pestore'; did you mean 'petstore'"):
        await registry.set_scaling("pestore", Scaling(min=1))
    with pytest.raises(NotFound):
        await registry.scaling("pestore")
    assert await registry.history() == []


async def test_settings_are_forgotten_with_their_deployment(registry):
    await saved(registry, Deployment("one", version()))
    await registry.set_scaling("one", Scaling(min=1))
    await registry.apply(Change(remove="one"))
    assert await registry.scalings() == {}


def decision(at: float, name: str = "one") -> Decision:
    return Decision(at, name, A, {"arrivals": 1.5, "depth": None}, {"instances": 2}, f"{name}: 2, since it is {at}")


async def test_decisions_are_read_in_pages_and_by_who_watches(store):
    registry = await store.registry(clock=lambda: 5.0)
    for at in range(5):
        await registry.add_decisions([decision(float(at)), decision(float(at), "two")])
    page = await registry.decisions("one", 2)
    assert page.items == (decision(4.0), decision(3.0))
    rest = await registry.decisions("one", 10, page.next)
    assert ([one.at for one in rest.items], rest.next) == ([2.0, 1.0, 0.0], None)
    newest = page.items[0].id
    await registry.add_decisions([decision(5.0), decision(5.0, "two")])
    assert await registry.decisions_after("one", newest) == [decision(5.0)]
    assert len((await registry.decisions(None, 100)).items) == 12


async def test_decisions_are_kept_up_to_a_number_of_each_func(store, monkeypatch):
    registry = await store.registry(clock=lambda: 5.0)
    monkeypatch.setattr(kept_decisions, "KEPT", 4)
    rounds = 2 * kept_decisions.TURNS
    for at in range(rounds):
        await registry.add_decisions([decision(float(at), f"n{number}") for number in range(5)])
    for number in range(5):
        kept = (await registry.decisions(f"n{number}", 1000)).items
        assert 4 <= len(kept) <= 4 + kept_decisions.TURNS
        assert [one.at for one in kept] == [float(rounds - 1 - index) for index in range(len(kept))]


async def test_decisions_grow_old_and_their_ids_are_never_used_again(store):
    now = 1000.0
    registry = await store.registry(clock=lambda: now)
    await registry.add_decisions([decision(now)])
    (first,) = (await registry.decisions("one")).items
    now += kept_decisions.AGE + 1
    for _ in range(kept_decisions.TURNS):
        await registry.add_decisions([])
    assert (await registry.decisions("one")).items == ()
    await registry.add_decisions([decision(now)])
    assert [one.at for one in await registry.decisions_after("one", first.id)] == [now]


async def test_a_decision_says_under_which_epoch_it_was_made(store):
    registry = await store.registry(clock=lambda: 5.0)
    lease = await registry.acquire("tron-1", "http://one")
    await registry.under(lease.epoch).add_decisions([decision(1.0)])
    assert (await registry.decisions("one")).items[0].epoch == 1


# idempotency keys


async def test_a_request_that_is_sent_twice_is_done_once(registry):
    assert await registry.begin_request("k", "print") is None
    with pytest.raises(Conflict, match="'k' is being worked on"):
        await registry.begin_request("k", "print")
    await registry.end_request("k", Answer(202, b'{"a": "\xc3\xa4"}'))
    assert await registry.begin_request("k", "print") == Answer(202, b'{"a": "\xc3\xa4"}')
    with pytest.raises(Conflict, match="used for another request"):
        await registry.begin_request("k", "another")


async def test_of_two_who_begin_a_request_at_once_one_does_it(registry, store):
    other = await store.registry()
    for number in range(10):
        key = f"k{number}"
        jobs = (registry.begin_request(key, "print"), other.begin_request(key, "print"))
        found = await asyncio.gather(*jobs, return_exceptions=True)
        assert sorted(map(type, found), key=str) == sorted([type(None), Conflict], key=str)


async def test_a_request_that_came_to_nothing_may_be_sent_again(registry):
    await registry.begin_request("k", "print")
    await registry.forget_request("k")
    assert await registry.begin_request("k", "print") is None
    await registry.end_request("k", Answer(200, b""))
    await registry.forget_request("k")
    assert await registry.begin_request("k", "print") == Answer(200, b"")


async def test_a_request_whose_tron_died_is_done_by_the_next_leader(registry, store):
    first = registry.under((await registry.acquire("tron-1", "http://one")).epoch)
    await first.begin_request("k", "print")
    other = await store.registry()
    lease = None
    while lease is None:
        lease = await other.acquire("tron-2", "http://two", 0.01)
    second = other.under(lease.epoch)
    assert await second.begin_request("k", "print") is None
    await second.end_request("k", Answer(200, b"second"))
    assert await second.begin_request("k", "print") == Answer(200, b"second")


async def test_a_key_is_forgotten_after_a_day(store):
    now = 1000.0
    registry = await store.registry(clock=lambda: now)
    await registry.begin_request("k", "print")
    await registry.end_request("k", Answer(200, b""))
    now += AGE - 1
    assert await registry.begin_request("k", "print") == Answer(200, b"")
    now += 2
    assert await registry.begin_request("k", "another") is None


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_none_says_so(registry, key):
    with pytest.raises(BadSettings, match="1 to 255"):
        await registry.begin_request(key, "print")


# the Registry itself


async def test_a_registry_that_is_not_open_says_so(store):
    with pytest.raises(StoreError, match="not open"):
        await Registry(store.url).deployments()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x/y", "mysql://u@h/d"])
async def test_a_database_that_cannot_be_used_says_why(url):
    with pytest.raises(SettingsError, match="database"):
        await Registry(url).open()


async def test_a_file_that_is_no_database_is_a_clear_error(tmp_path):
    (tmp_path / "x.db").write_bytes(b"\xff\xd8" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        await Registry(f"sqlite:///{tmp_path}/x.db").open()
