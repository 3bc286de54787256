"""Padded frames: one spelling, one size a bucket, whole equals byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.conclave import framing
from bento.errors import LocalProtocolError, RemoteProtocolError

KINDS = st.sampled_from([framing.ATTEST, framing.EVIDENCE, framing.DATA, framing.CLOSE])
FRAMES = st.lists(st.tuples(KINDS, st.binary(max_size=1500)), max_size=5)


@given(FRAMES)
def test_frames_are_read_back(frames):
    wire = b"".join(framing.encode(kind, payload) for kind, payload in frames)
    reader = framing.FrameReader()
    assert reader.feed(wire) == frames
    assert reader.idle


@given(FRAMES, st.binary(max_size=700))
def test_whole_equals_bytewise(frames, noise):
    wire = b"".join(framing.encode(kind, payload) for kind, payload in frames) + noise

    def fed(step):
        reader, found = framing.FrameReader(), []
        try:
            for at in range(0, len(wire), step):
                found += reader.feed(wire[at : at + step])
        except RemoteProtocolError:
            found.append("refused")
        return found

    bytewise, whole = fed(1), fed(len(wire) or 1)
    assert bytewise[: len(whole)] == whole or whole == ["refused"]
    assert ("refused" in bytewise) == ("refused" in whole)


@given(st.binary(max_size=3000))
def test_any_bytes_are_frames_or_refused(data):
    reader = framing.FrameReader()
    try:
        frames = reader.feed(data)
    except RemoteProtocolError:
        return
    again = b"".join(framing.encode(kind, payload) for kind, payload in frames)
    assert data.startswith(again)


@given(st.integers(0, framing.MAX_PAYLOAD))
def test_a_frame_is_its_bucket_and_at_most_twice_its_payload(size):
    wire = len(framing.encode(framing.DATA, bytes(size)))
    assert wire in framing.BUCKETS
    assert wire == 512 or wire < 2 * (size + 5)


def test_a_too_large_payload_is_our_own_mistake():
    with pytest.raises(LocalProtocolError):
        framing.encode(framing.DATA, bytes(framing.MAX_PAYLOAD + 1))


@pytest.mark.parametrize("kind", [0, 5, 255])
def test_an_unknown_kind_is_refused(kind):
    wire = bytearray(framing.encode(framing.DATA, b"x"))
    wire[4] = kind
    with pytest.raises(RemoteProtocolError):
        framing.FrameReader().feed(bytes(wire))


def test_a_frame_longer_than_the_largest_bucket_is_refused_at_its_head():
    with pytest.raises(RemoteProtocolError):
        framing.FrameReader().feed((framing.MAX_PAYLOAD + 1).to_bytes(4, "big") + b"\3")


def test_padding_that_carries_bytes_is_refused():
    wire = bytearray(framing.encode(framing.DATA, b"x"))
    wire[-1] = 1
    with pytest.raises(RemoteProtocolError):
        framing.FrameReader().feed(bytes(wire))


@given(st.binary(max_size=200_000))
def test_split_gives_back_the_whole(data):
    pieces = list(framing.split(data))
    assert b"".join(pieces) == data
    assert all(len(piece) <= framing.MAX_PAYLOAD for piece in pieces)
    assert pieces
