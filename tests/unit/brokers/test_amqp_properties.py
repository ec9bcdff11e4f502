"""Properties and field tables: ours, pika's, foreign ones and broken ones."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pika import spec

from funcatron.brokers.amqp import properties
from funcatron.brokers.base import Outgoing, Properties
from funcatron.errors import BadMessage, BrokerError

ALL = Outgoing(b"", "q", "", {"action": "service", "päth": "/ü", "empty": ""}, "back", "r-1", 1500, True, "text/plain")


def by_pika(**values: object) -> bytes:
    """Encode properties by pika."""
    return b"".join(spec.BasicProperties(**values).encode())


def test_what_is_encoded_is_what_pika_reads() -> None:
    """Every property that we send."""
    read = spec.BasicProperties()
    read.decode(properties.encode(ALL))
    assert (read.headers, read.reply_to, read.correlation_id) == (dict(ALL.headers), "back", "r-1")
    assert (read.expiration, read.delivery_mode, read.content_type) == ("1500", 2, "text/plain")


@pytest.mark.parametrize("message", [ALL, Outgoing(b"", "q"), Outgoing(b"", "q", headers={"action": "answer"})])
def test_what_is_encoded_is_read_back(message: Outgoing) -> None:
    """Round trip; what was not there is absent."""
    for _ in range(2):  # the second time from what was kept of the first
        assert properties.decode(properties.encode(message)) == Properties(
            dict(message.headers),
            message.reply_to,
            message.correlation_id,
            message.expiration_ms,
            message.persistent,
            message.content_type,
        )


def test_headers_of_foreign_publishers_become_strings() -> None:
    """Numbers, booleans, times, tables, lists, nothing, bytes that are no text."""
    values = by_pika(
        headers={
            "int": 7,
            "negative": -1,
            "long": 2**40,
            "true": True,
            "void": None,
            "decimal": Decimal("3.14"),
            "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "table": {"a": 1, "b": {"c": [True, "x"]}},
            "list": [1, "two", None],
            "bytes": b"\xff\xfe",
            "last": "text",
        },
        content_encoding="gzip",
        priority=3,
        timestamp=1,
        type="t",
        app_id="a",
    )
    assert properties.decode(values).headers == {
        "int": "7",
        "negative": "-1",
        "long": str(2**40),
        "true": "true",
        "void": "",
        "decimal": "3.14",
        "time": "2026-01-02T03:04:05+00:00",
        "table": "{a: 1, b: {c: [true, x]}}",
        "list": "[1, two, ]",
        "bytes": "\ufffd\ufffd",
        "last": "text",
    }
    assert properties.headers_of(b"xx" + values, 2)["last"] == "text"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"b\xff", "-1"),
        (b"B\xff", "255"),
        (b"s\xff\xfe", "-2"),
        (b"u\xff\xfe", "65534"),
        (b"i\xff\xff\xff\xff", str(2**32 - 1)),
        (b"L" + b"\xff" * 8, "-1"),
        (b"f\x3f\x00\x00\x00", "0.5"),
        (b"d\x3f\xe0" + b"\0" * 6, "0.5"),
        (b"x\0\0\0\x02ab", "ab"),
        (b"D\xff\0\0\0\x01", "1"),
        (b"T" + b"\xff" * 8, str(2**64 - 1)),
        (b"A\0\0\0\0", "[]"),
        (b"F\0\0\0\0", "{}"),
    ],
)
def test_every_type_of_field_becomes_a_string(field: bytes, text: str) -> None:
    """Also those that pika cannot write; a time that no calendar has stays a number."""
    table = b"\x01n" + field + b"\x01zS\0\0\0\x01z"
    raw = b"\x20\0" + len(table).to_bytes(4, "big") + table
    assert properties.decode(raw).headers == {"n": text, "z": "z"}


def test_an_expiration_that_is_no_number_is_none() -> None:
    """Foreign publishers write what they like."""
    assert properties.decode(by_pika(expiration="soon")).expiration_ms is None
    assert properties.decode(by_pika(expiration="²")).expiration_ms is None


@pytest.mark.parametrize(("mode", "persistent"), [(None, False), (1, False), (2, True)])
def test_the_delivery_mode_is_found_without_decoding(mode: int | None, persistent: bool) -> None:
    """Behind content type, encoding and headers, where they are there."""
    for values in ({}, {"content_type": "a/b"}, {"content_type": "a", "content_encoding": "b", "headers": {"x": "y"}}):
        raw = by_pika(**values, delivery_mode=mode, priority=1) if mode else by_pika(**values, priority=1)
        assert (properties.delivery_mode(b"..." + raw, 3) == 2) is persistent
        assert properties.decode(raw).persistent is persistent


def test_a_message_id_is_put_in_its_place() -> None:
    """The other properties stay; an id that is there is kept."""
    for values in (properties.encode(ALL), by_pika(headers={"a": 1}, timestamp=7, app_id="x"), by_pika()):
        raw, found = properties.with_message_id(values, b"17")
        before, after = spec.BasicProperties(), spec.BasicProperties()
        before.decode(values)
        after.decode(raw)
        assert (found, after.message_id) == (b"17", "17")
        before.message_id = "17"
        assert before == after
        assert properties.with_message_id(raw, b"18") == (raw, b"17")


def test_a_header_that_is_too_long_to_name_is_refused() -> None:
    """Names are short strings; values may be long."""
    with pytest.raises(BrokerError):
        properties.encode(Outgoing(b"", "q", headers={"x" * 256: "y", "z": ""}))
    assert (
        properties.decode(properties.encode(Outgoing(b"", "q", headers={"x": "y" * 5000}))).headers["x"] == "y" * 5000
    )


def test_the_origin_is_read_without_the_rest() -> None:
    raw = properties.encode(ALL)
    assert properties.origin(raw) == ("back", "r-1")
    for end in range(len(raw) - 8):  # what stands behind the reply-to is not looked at
        with pytest.raises(BadMessage):
            properties.origin(raw[:end])


def test_properties_that_are_cut_short_are_bad_messages() -> None:
    """At every byte but where nothing is lost."""
    values = properties.encode(ALL)
    for cut in range(len(values)):
        with pytest.raises(BadMessage):
            properties.decode(values[:cut])


def test_random_bytes_are_bad_messages_or_properties() -> None:
    """Never another error, never much memory."""
    rng = random.Random(3)
    seeds = [properties.encode(ALL), by_pika(headers={"t": {"a": [1, {"b": True}]}, "n": 3}, timestamp=3)]
    tracemalloc.start()
    for turn in range(20_000):
        raw = bytearray(rng.choice(seeds) if turn % 4 else rng.randbytes(rng.randint(0, 80)))
        for _ in range(rng.randint(1, 4)):
            if raw:
                raw[rng.randrange(len(raw))] = rng.randrange(256)
        for decode in (properties.decode, properties.headers_of):
            with suppress(BadMessage):
                decode(bytes(raw))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_deep_nesting_is_a_bad_message() -> None:
    """A table in a table in a table …"""
    table = b""
    for _ in range(500):
        inner = b"\x01aF" + len(table).to_bytes(4, "big") + table
        table = inner
    raw = (0x2000).to_bytes(2, "big") + len(table).to_bytes(4, "big") + table
    with pytest.raises(BadMessage, match="deep"):
        properties.decode(raw)
