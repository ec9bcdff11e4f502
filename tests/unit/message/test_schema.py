"""Every action has a schema, every constructor follows it, and the hot path's messages do, too."""

from __future__ import annotations

import time
import uuid
from importlib.resources import files
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from funcatron.errors import BadMessage
from funcatron.message import ACTIONS, answer_bytes, control, encode, message_id, parse, schema, validate

STARTED_MS = time.time_ns() // 1_000_000

SHA = "ab" * 32
BUNDLE = {"sha": SHA, "name": "pets", "queue": "func.pets.abababab", "host": None, "path": "/pets", "props": {}}
ROUTE = {"host": None, "path": "/pets", "queue": "func.pets.abababab", "name": "pets", "sha": SHA}

FEW = {"count": 2, "seconds": 0.5, "keys": [-60], "counts": [2]}

MADE: dict[str, dict[str, Any]] = {
    "service": control.service(
        "f-1",
        "r-1",
        "POST",
        "/a%2Fb?x=1&x=2",
        {"accept": "*/*", "cookie": ["a", "b"]},
        body="{}",
        deadline=1,
        host="example.com",
    ),
    "answer": orjson.loads(answer_bytes("r-1", 200, [("a", "b")], b"\xff", sender="r", sha=SHA, operation="o")),
    "awake": control.awake("r-1", "runner", host_info={"pid": 1}, reply_to="funcatron.runner.r-1"),
    "heartbeat": control.heartbeat(
        "r-1", "runner", funcs=[{"sha": SHA, "queue": "func.pets.abababab", "state": "serving", "stats": {"calls": 1}}]
    ),
    "died": control.died("f-1", "frontend"),
    "route": control.route("t-1", [ROUTE], 7),
    "enable": control.enable("t-1", BUNDLE, ("127.0.0.1", 3000)),
    "disable": control.disable("t-1", SHA, "func.pets.abababab"),
    "all-bundles": control.all_bundles("t-1", [BUNDLE]),
    "tron-info": control.tron_info("t-1", ("tron", 3000)),
    "allocate": control.allocate("t-1", [{"queue": "q", "instances": 0, "waker": True}], epoch=3),
    "stats": control.stats(
        "r-1",
        "a1",
        0,
        [{"life": 1, "queue": "q", "sha": SHA, "age": 0.5, "in-flight": 0, "hosts": {}, "wait": FEW}],
        full=True,
        within=1.0,
        machine={"cores": 0.5},
    ),
    "ack": control.ack("r-1", "m-1", ok=False, stage="failed", final=True, sha=SHA, queue="q", errors=["no"]),
    "resend-awake": control.resend_awake("t-1"),
    "die": control.die("t-1", "f-1"),
}


def test_every_action_has_a_schema_in_the_package_and_a_constructor() -> None:
    """No more and no less."""
    names = {it.name.removesuffix(".json") for it in files("funcatron.message").joinpath("schemas").iterdir()}
    assert names == ACTIONS == set(MADE)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_schema_is_valid_and_says_what_it_is(action: str) -> None:
    """By its metaschema; newer fields are allowed."""
    found = schema(action)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["properties"]["action"] == {"const": action}
    assert found["title"]
    assert "additionalProperties" not in found


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_what_a_constructor_makes_follows_its_schema_and_is_parsed_back(action: str) -> None:
    """With the common fields."""
    message = MADE[action]
    validate(action, message)
    parsed = parse(encode(message))
    assert (parsed.action, parsed.version, parsed.fields) == (action, 1, message)
    assert str(uuid.UUID(parsed.id)) == parsed.id
    assert STARTED_MS <= parsed.at <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_newer_fields_are_ignored(action: str) -> None:
    """A later release may add some."""
    parse(encode({**MADE[action], "version": 2, "from-the-future": {"x": [1]}}))


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_what_is_required_is_required(action: str) -> None:
    """The error names the field."""
    for name in schema(action)["required"]:
        if name != "action":
            broken = {key: value for key, value in MADE[action].items() if key != name}
            with pytest.raises(BadMessage, match=name):
                parse(encode(broken))


@pytest.mark.parametrize("action", ["enable", "disable", "all-bundles", "tron-info", "allocate"])
def test_the_epoch_of_what_a_tron_says_is_a_whole_number(action: str) -> None:
    """And may be missing, but where it is all that counts."""
    parse(encode({**MADE[action], "epoch": 7}))
    for wrong in (-1, "7", 1.5):
        with pytest.raises(BadMessage, match="epoch"):
            parse(encode({**MADE[action], "epoch": wrong}))


@pytest.mark.parametrize(("name", "wrong"), [("keys", [1.5]), ("keys", [5000]), ("counts", [-2]), ("counts", {"1": 2})])
def test_bins_are_keys_that_stand_for_a_duration_and_counts(name: str, wrong: Any) -> None:
    """Whole numbers all."""
    (entry,) = MADE["stats"]["funcs"]
    broken = {**MADE["stats"], "funcs": [{**entry, "wait": {**FEW, name: wrong}}]}
    with pytest.raises(BadMessage, match=f"wait/{name}"):
        parse(encode(broken))


def test_wrong_types_are_named_with_their_place() -> None:
    """All of the first few."""
    broken = {**MADE["route"], "at": "now", "routes": [{**ROUTE, "queue": 7}, {"path": "pets", "queue": "q"}]}
    with pytest.raises(BadMessage) as caught:
        parse(encode(broken))
    for part in ("at:", "routes/0/queue", "routes/1/path"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"7", b"{}", b'{"action": 7}', b'{"action": "launch"}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_message_is_a_bad_message(raw: bytes) -> None:
    """Said in a short sentence."""
    with pytest.raises(BadMessage) as caught:
        parse(raw)
    assert 10 < len(str(caught.value)) < 300


def test_what_json_cannot_carry_is_a_bad_message() -> None:
    """At the sender."""
    with pytest.raises(BadMessage):
        encode({"a": object()})


def test_message_ids_are_unique_uuids() -> None:
    """Cheap ones."""
    made = {message_id() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(str(uuid.UUID(it)) == it for it in list(made)[:100])
