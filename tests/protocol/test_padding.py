"""First messages have sizes of a small public set, and uploads come back as they were."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.conclave import framing
from bento.errors import FunctionError
from bento.protocol import limits
from bento.protocol.padding import (
    CALL_CLASS,
    DOOR_CLASS,
    LARGE,
    UPLOAD_CLASS,
    Pad,
    fill,
    pack,
    padded,
    unpack,
)
from bento.protocol.wire import FrameReader

SMALLEST = st.sampled_from([DOOR_CLASS, CALL_CLASS, UPLOAD_CLASS])
SIZES = st.integers(0, 40_000) | st.integers(0, 5 * limits.MIB)


@given(SIZES, SMALLEST)
def test_padding_brings_any_size_to_a_class_exactly(size, smallest):
    pads = fill(size, smallest)
    total = size + len(pads)
    assert total == padded(total, smallest)
    assert all(isinstance(m, Pad) for m in FrameReader((Pad,), limits.SESSION_FRAME).feed(pads))


@pytest.mark.parametrize("smallest", [DOOR_CLASS, CALL_CLASS, UPLOAD_CLASS])
def test_every_size_near_every_border_can_be_filled(smallest):
    for border in (smallest, 2 * smallest, limits.CHUNK, LARGE, 2 * LARGE):
        for size in range(border - 30, border + 30):
            total = size + len(fill(size, smallest))
            assert size < total == padded(total, smallest)


def test_there_are_few_classes_and_padding_costs_less_than_the_larger_of_its_rules():
    sizes = range(1, 4 * LARGE, 997)
    assert len({padded(size, UPLOAD_CLASS) for size in sizes}) == 9
    for size in sizes:
        assert padded(size, UPLOAD_CLASS) < size + max(UPLOAD_CLASS, min(size, LARGE))


@given(st.text(max_size=200).map(str.encode), st.integers(0, 1000))
def test_an_upload_comes_back_as_it_was(text, times):
    upload = text * times
    packed = pack(upload)
    assert len(packed) <= len(upload)
    assert unpack(bytearray(packed), limits.UPLOAD) == upload


@given(st.binary(max_size=100))
def test_what_only_looks_compressed_comes_back_as_it_was_too(tail):
    upload = zlib.compress(b"", 9)[:2] + tail
    assert unpack(bytearray(pack(upload)), limits.UPLOAD) == upload


def test_a_compressed_upload_cannot_unfold_beyond_the_limit():
    bomb = bytearray(zlib.compress(bytes(1 << 20), 9))
    assert unpack(bomb, 1 << 20) == bytes(1 << 20)
    with pytest.raises(FunctionError):
        unpack(bomb, (1 << 20) - 1)


@given(st.binary(max_size=100))
def test_a_damaged_upload_is_the_declared_error(tail):
    whole = zlib.compress(b"def main(api): pass", 9)
    for wrong in (whole[:-1], whole + b"x", whole[:2] + tail):
        with pytest.raises(FunctionError):
            unpack(bytearray(wrong), 1 << 20)


@pytest.mark.parametrize("size", [CALL_CLASS, UPLOAD_CLASS, limits.CHUNK])
def test_a_class_in_a_frame_of_an_attested_channel_is_no_larger(size):
    assert framing.bucket(padded(1, size)) == size
