"""Frames, whole and in pieces; what is no frame ends in an error. Both ends: the Runner's and the host's."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading

import pytest

from funcatron.errors import HostError
from funcatron.hosts import protocol
from funcatron.hosts.python.funcatron_host import wire

BODIES = [b"", b"x", b"y" * 1000, b"z" * (wire.LARGE + 1), bytes(range(256)) * 2000, b"w" * wire.LARGE]


def frames() -> list[tuple[dict[str, object], bytes]]:
    return [({"type": "answer", "id": number, "text": "ü"}, body) for number, body in enumerate(BODIES)]


def stream() -> bytes:
    return b"".join(protocol.encode(header, len(body)) + body for header, body in frames())


@pytest.mark.parametrize("size", [1, 7, 1000, 4096, 65_536, 10_000_000])
def test_frames_are_decoded_from_pieces_of_any_size(size: int) -> None:
    data = stream() if size > 100 else stream()[:3000]
    expected = frames() if size > 100 else frames()[:3]
    decoder, found = protocol.Decoder(), []
    for at in range(0, len(data), size):
        found += [(header, bytes(body)) for header, body in decoder.feed(data[at : at + size])]
    assert found[: len(expected)] == expected


def test_frames_are_decoded_from_random_pieces() -> None:
    dice = random.Random(7)
    for _ in range(30):
        data, decoder, found = stream(), protocol.Decoder(), []
        while data:
            size = dice.choice([1, 5, 9, 100, 70_000, 600_000])
            found += [(header, bytes(body)) for header, body in decoder.feed(data[:size])]
            data = data[size:]
        assert found == frames()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", protocol.MAX_JSON + 1, 0),
        struct.pack(">II", 2, protocol.MAX_BODY + 1),
        struct.pack(">II", 3, 0) + b"{a}",
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"{}",
        struct.pack(">II", 10, 0) + b'{"type":1}',
        struct.pack(">II", 3, 100_000) + b"nul" + b"x" * 10,
    ],
)
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(HostError):
        protocol.Decoder().feed(data)


def test_a_frame_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(HostError):
        protocol.encode({"type": "call"}, protocol.MAX_BODY + 1)


def test_random_bytes_end_in_frames_or_in_an_error() -> None:
    dice = random.Random(3)
    for _ in range(500):
        decoder = protocol.Decoder()
        try:
            for _ in range(5):
                decoder.feed(struct.pack(">II", dice.randrange(40), dice.randrange(40)) + dice.randbytes(60))
        except HostError:
            continue


def test_the_hosts_end_reads_what_the_runner_writes_and_the_other_way_round() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sending = threading.Thread(target=ours.sendall, args=(stream(),))
        sending.start()
        reader, found = wire.Reader(theirs), []
        while len(found) < len(BODIES):
            some = reader.read()
            assert some is not None
            found += [(header, bytes(body)) for header, body in some]
        sending.join()
        assert found == frames()

        sender = wire.Sender(theirs)

        def send() -> None:
            for header, body in frames():
                sender.put(wire.frame(header, len(body)), body)
            sender.flush()

        sending = threading.Thread(target=send)
        sending.start()
        decoder, back = protocol.Decoder(), []
        while len(back) < len(BODIES):
            back += [(header, bytes(body)) for header, body in decoder.feed(ours.recv(100_000))]
        sending.join()
        assert back == frames()
        ours.shutdown(socket.SHUT_WR)
        assert reader.read() is None


def test_frames_of_many_threads_neither_mix_nor_get_lost() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = wire.Sender(theirs)

        def send(thread: int) -> None:
            for number in range(300):
                body = b"x" * (number % 7 * 20_000)
                sender.put(wire.frame({"type": "log", "thread": thread, "number": number}, len(body)), body)
                if number % 3:
                    sender.flush()
            sender.flush()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        decoder, seen = protocol.Decoder(), {number: [] for number in range(4)}  # type: dict[int, list[int]]
        while sum(map(len, seen.values())) < 1200:
            for header, body in decoder.feed(ours.recv(1_000_000)):
                seen[header["thread"]].append(header["number"])
                assert len(body) == header["number"] % 7 * 20_000
        for thread in threads:
            thread.join()
        assert all(numbers == list(range(300)) for numbers in seen.values())


def test_a_sender_whose_runner_has_gone_keeps_nothing() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        sender = wire.Sender(theirs)
        sender.put(wire.frame({"type": "log"}))
        sender.put(wire.frame({"type": "log"}, 100_000), b"x" * 100_000)
        sender.flush()
        assert not sender.waiting


def test_what_json_does_not_know_is_sent_as_text() -> None:
    assert json.loads(wire.frame({"type": "log", "odd": {1, 2}.__class__})[8:])["odd"] == "<class 'set'>"
