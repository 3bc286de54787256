"""Frames between front and replica: any bytes give the messages that were meant, or the declared error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.functions.balancer.fleet import Load
from bento.functions.balancer.messages import (
    MAX_CONTENT,
    MAX_FRAME,
    PIECE,
    TO_FRONT,
    TO_REPLICA,
    Content,
    Failed,
    Frames,
    Join,
    Joined,
    Leave,
    Left,
    Ping,
    Ready,
    Report,
    Serve,
    content_frames,
    encode,
)
from bento.onion.crypto import Secret
from bento.onion.handover import Rendezvous
from bento.onion.hs_ntor import ClientShare
from bento.onion.linkspec import Target, for_relay, read
from bento.onion.wire import Reader


def record() -> bytes:
    from ipaddress import IPv4Address

    from bento.onion.certs import RelayIdentity

    identity = RelayIdentity(b"r" * 20, b"e" * 32)
    target = Target(identity, b"o" * 32, for_relay(identity, [(IPv4Address("192.0.2.1"), 9001)]))
    share = ClientShare(b"x" * 32, Secret(b"s" * 32), b"b" * 32, b"a" * 32)
    return bytes(Rendezvous(Secret(b"c" * 20), target, share, True).pack())


DOWN = [Serve(1, 31, 500), Content(b"abc"), Join(7, record()), Ping(), Leave()]
UP = [Ready("de"), Ready(), Joined(1), Failed(2**64 - 1), Report(Load(3, 2, 1e6, 5.0)), Left()]


@pytest.mark.parametrize(("messages", "expected"), [(DOWN, TO_REPLICA), (UP, TO_FRONT)])
def test_whole_or_byte_by_byte_the_same_messages_arrive(messages, expected):
    data = b"".join(map(encode, messages))
    assert Frames(expected).feed(data) == messages
    frames = Frames(expected)
    assert [m for at in range(len(data)) for m in frames.feed(data[at : at + 1])] == messages


@given(st.binary(max_size=400), st.sampled_from([TO_REPLICA, TO_FRONT]))
def test_any_bytes_parse_or_raise_the_declared_error(data, expected):
    def outcome(pieces):
        frames, found = Frames(expected), []
        try:
            for piece in pieces:
                found += frames.feed(piece)
        except RemoteProtocolError as error:
            return str(error)
        return found

    whole = outcome([data])
    bytewise = outcome(data[at : at + 1] for at in range(len(data)))
    assert whole == bytewise


@pytest.mark.parametrize("message", DOWN)
def test_nobody_takes_the_other_sides_words(message):
    with pytest.raises(RemoteProtocolError):
        Frames(TO_FRONT).feed(encode(message))


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\0",
        (MAX_FRAME + 1).to_bytes(3, "big"),
        b"\0\0\x01\x63",
        encode(Ping())[:2] + b"\x02\x04\0",
        b"\0\0\x02\x03\x01",
        encode(Join(1, record()[:-1])),
        encode(Serve(1, 0, MAX_CONTENT + 1)),
    ],
    ids=[
        "empty",
        "too large",
        "unknown",
        "surplus",
        "short",
        "a spoilt record",
        "too much content",
    ],
)
def test_a_frame_that_is_not_exactly_right_is_refused(frame):
    with pytest.raises(RemoteProtocolError):
        Frames(TO_REPLICA).feed(frame)


def test_a_region_is_printable_words():
    for spoilt in (b"\x1b[2J", b"\xff", b"a" * 201):
        frame = bytes([17]) + spoilt
        with pytest.raises(RemoteProtocolError):
            Frames(TO_FRONT).feed(len(frame).to_bytes(3, "big") + frame)


def test_content_of_any_size_travels_in_frames_of_bounded_size():
    data = bytes(range(256)) * 1000
    frames = content_frames(data)
    assert max(map(len, frames)) <= PIECE + 4
    found = Frames(TO_REPLICA).feed(b"".join(frames))
    assert b"".join(m.data for m in found) == data
    with pytest.raises(LocalProtocolError):
        encode(Content(bytes(MAX_FRAME)))


def test_no_long_term_key_is_in_what_a_replica_is_told():
    """The record has public keys, EXP(X,b) and the cookie: nothing that opens another's INTRODUCE2."""
    (join,) = Frames(TO_REPLICA).feed(encode(Join(1, record())))
    reader = Reader(join.record, "the record")
    fields = [reader.take(size) for size in (2, 20, 32, 32, 32, 32, 32)]
    assert fields[1:] == [b"c" * 20, b"x" * 32, b"s" * 32, b"b" * 32, b"a" * 32, b"o" * 32]
    assert read(Reader(reader.vector(2), "the rendezvous point"))
