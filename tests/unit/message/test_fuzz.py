"""Whatever bytes come in: a message or BadMessage, nothing else, and flat memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from funcatron.errors import BadMessage
from funcatron.message import Answer, ServiceMessage, parse
from tests.unit.message.test_schema import MADE

DECODERS: tuple[Callable[[bytes], object], ...] = (parse, ServiceMessage.decode, Answer.decode)


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Return some JSON value."""
    kinds = 9 if depth < 4 else 7
    match rng.randrange(kinds):
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2:
            return rng.choice((0, -1, 2**53, -(2**63), 1e308, 0.5))
        case 3:
            return rng.choice(("", "\0", "ü\U0001f600", "/x", "service", "answer", "x" * 1000))
        case 4:
            return rng.choice((200, 99, 1_700_000_000_000))
        case 5 | 6:
            return rng.choice(([], {}))
        case 7:
            return [odd(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {str(odd(rng, 9))[:20]: odd(rng, depth + 1) for _ in range(rng.randrange(4))}


def wrong_types(rng: random.Random) -> bytes:
    """Return a good message with some fields of another type, or without them."""
    message = orjson.loads(orjson.dumps(MADE[rng.choice(list(MADE))]))
    for _ in range(rng.randint(1, 3)):
        where = message
        if isinstance(message.get("answer"), dict) and rng.random() < 0.5:
            where = message["answer"]
        name = rng.choice(list(where))
        if rng.random() < 0.2:
            del where[name]
            if not where:
                break
        else:
            where[name] = odd(rng)
    return orjson.dumps(message)


def damaged(rng: random.Random) -> bytes:
    """Return a good message with some bytes changed, removed or added."""
    raw = bytearray(orjson.dumps(MADE[rng.choice(list(MADE))]))
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(raw))
        match rng.randrange(3):
            case 0:
                raw[at] = rng.randrange(256)
            case 1:
                del raw[at : at + rng.randint(1, 20)]
            case _:
                raw[at:at] = rng.randbytes(rng.randint(1, 5))
        if not raw:
            break
    return bytes(raw)


def noise(rng: random.Random) -> bytes:
    """Return random bytes."""
    return rng.randbytes(rng.randint(0, 200))


def nested(rng: random.Random) -> bytes:
    """Return a message in which something is nested deeply."""
    depth = rng.choice((10, 250, 900, 5000))
    name = rng.choice(("headers", "answer", "routes", "body", "x"))
    action = rng.choice(list(MADE))
    opening, closing = rng.choice((('{"a":', "}"), ("[", "]")))
    return f'{{"action":"{action}","{name}":{opening * depth}1{closing * depth}}}'.encode()


@pytest.mark.parametrize(("make", "count"), [(wrong_types, 4000), (damaged, 4000), (noise, 4000), (nested, 200)])
def test_nothing_but_bad_message_is_raised_and_memory_stays_flat(
    make: Callable[[random.Random], bytes], count: int
) -> None:
    """By any decoder."""
    rng = random.Random(1)
    bad = 0
    for decode in DECODERS:  # what is kept for good is made before measuring
        with pytest.raises(BadMessage):
            decode(b"{}")
    tracemalloc.start()
    try:
        for _ in range(count):
            raw = make(rng)
            for decode in DECODERS:
                try:
                    decode(raw)
                except BadMessage as err:
                    bad += 1
                    sentence = str(err)
                    assert sentence, "an error without words"
                    assert len(sentence) < 3000, "an error longer than its message deserves"
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bad > count / 2
    assert kept < 3_000_000
