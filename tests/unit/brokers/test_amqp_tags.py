"""Settled tags become acks: all of them, each once, in few frames."""

from __future__ import annotations

import random
from struct import Struct

from funcatron.brokers.amqp import codec
from funcatron.brokers.amqp.tags import Tags

FRAME = Struct(">BHIIQBB")


def settled(frames: list[bytes], unsettled: set[int]) -> set[int]:
    """Apply ack frames as RabbitMQ does; what is acked must be unsettled."""
    done = set()
    for frame in frames:
        kind, channel, size, method, tag, bits, end = FRAME.unpack(frame)
        assert (kind, channel, size, end) == (1, 7, 13, 0xCE)
        assert tag in unsettled, "RabbitMQ closes the channel for a tag that it does not know"
        if method == codec.BASIC_ACK and bits:
            done |= {it for it in unsettled if it <= tag}
        else:
            done.add(tag)
    return done


def test_a_run_of_tags_is_acked_by_one_frame() -> None:
    """With `multiple`, up to the last one."""
    tags = Tags(7)
    for tag in range(1, 101):
        tags.ack(tag)
    assert tags.take() == [codec.ack(7, 100, True)]
    assert tags.take() == []


def test_what_is_above_a_gap_is_acked_one_by_one() -> None:
    """And when the gap closes, nothing is acked twice."""
    tags = Tags(7)
    for tag in (1, 2, 5, 4):
        tags.ack(tag)
    assert tags.take() == [codec.ack(7, 2, True), codec.ack(7, 4, False), codec.ack(7, 5, False)]
    tags.ack(3)
    assert tags.take() == [codec.ack(7, 3, True)]
    tags.ack(6)
    assert tags.take() == [codec.ack(7, 6, True)]


def test_a_nacked_tag_is_not_acked() -> None:
    """An ack for more reaches over it, since the broker has forgotten it by then."""
    tags = Tags(7)
    tags.ack(1)
    assert tags.nack(2, True) == codec.nack(7, 2, True)
    tags.ack(3)
    assert tags.take() == [codec.ack(7, 3, True)]
    assert tags.nack(4, False) == codec.nack(7, 4, False)
    assert tags.take() == []
    tags.ack(5)
    assert tags.take() == [codec.ack(7, 5, True)]


def test_whatever_the_order_every_tag_is_settled_exactly_once() -> None:
    """A thousand random histories against a model of the broker."""
    for seed in range(1000):
        rng = random.Random(seed)
        tags, unsettled, pending = Tags(7), set(), list(range(1, rng.randint(2, 60)))
        unsettled |= set(pending)
        acked: set[int] = set()
        while pending:
            tag = pending.pop(rng.randrange(min(len(pending), rng.choice((1, 5, 60)))))
            if rng.random() < 0.2:
                frames = [tags.nack(tag, True)]
                assert settled(frames, unsettled) == {tag}
                unsettled.discard(tag)
            else:
                tags.ack(tag)
                acked.add(tag)
            if rng.random() < 0.3:
                done = settled(tags.take(), unsettled)
                assert done == acked
                unsettled -= done
                acked.clear()
        assert settled(tags.take(), unsettled) == acked == unsettled
