"""Frames: one size whatever they carry, any bytes are taken or refused, and streams come out whole."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.functions.cover.frames import (
    CELL,
    CLOSE,
    CREDIT,
    DATA,
    EOF,
    FRAME,
    JUNK,
    OPEN,
    STREAMS,
    WINDOW,
    FrameError,
    Frames,
)
from bento.protocol.session import Data
from bento.protocol.wire import encode


def pair():
    return Frames(opens=True), Frames(opens=False)


def slot(source, sink):
    """What a frame brought, but for the junk in it."""
    return [event for event in sink.feed(source.seal(source.next())) if event[0] != JUNK]


def chunk(kind, stream, data=b"", size=None):
    size = len(data) if size is None else size
    return bytes((kind,)) + stream.to_bytes(2, "big") + size.to_bytes(2, "big") + data


def frame(*chunks, received=0):
    body = received.to_bytes(4, "big") + b"".join(chunks)
    return body + bytes(FRAME - len(body))


def test_a_frame_is_one_cell_with_the_message_around_it():
    near, _ = pair()
    assert len(encode(Data(1 << 40, near.seal(near.next())))) == CELL == 488


def test_what_real_bytes_leave_of_a_frame_is_junk():
    near, far = pair()
    ((kind, _, junk),) = far.feed(near.seal(near.next()))
    assert kind == JUNK and len(junk) == FRAME - 4 - 5
    stream = near.open("there")
    near.write(stream, bytes(100))
    kinds = [(kind, len(data)) for kind, _, data in far.feed(near.seal(near.next()))]
    assert kinds == [(OPEN, 5), (DATA, 100), (JUNK, FRAME - 4 - 10 - 105 - 5)]


def test_every_frame_has_one_size_whatever_there_is_to_send():
    near, far = pair()
    sizes = set()
    for turn in range(60):
        if turn % 7 == 0 and turn < 42:
            stream = near.open("x" * turn)
            near.write(stream, bytes(turn * 50))
            if turn % 2:
                near.end(stream)
        made = near.seal(near.next())
        sizes.add(len(made))
        far.feed(made)
        sizes.add(len(answer := far.seal(far.next())))
        near.feed(answer)
    assert sizes == {FRAME}


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=8), st.randoms())
def test_streams_come_out_as_they_went_in(pieces, rng):
    near, far = pair()
    streams = {near.open(f"number {number}"): piece for number, piece in enumerate(pieces)}
    left = dict(streams)
    came = dict.fromkeys(streams, b"")
    ended = set()
    while len(ended) < len(streams):
        for stream in rng.sample(sorted(left), len(left)):
            size = min(near.room(stream), rng.randint(1, 700))
            near.write(stream, left[stream][:size])
            left[stream] = left[stream][size:]
            if not left[stream]:
                near.end(stream)
                del left[stream]
        for kind, stream, data in slot(near, far):
            if kind == OPEN:
                far.opened(stream)
            elif kind == DATA:
                came[stream] += data
                far.pass_on(stream, len(data))
            elif kind == EOF:
                ended.add(stream)
                far.end(stream)
        slot(far, near)
    assert came == streams
    for _ in range(3):
        slot(far, near)
    assert near.idle and far.idle


def test_a_sender_waits_until_its_bytes_were_passed_on():
    near, far = pair()
    stream = near.open("there")
    near.write(stream, bytes(near.room(stream)))
    assert near.room(stream) == 0
    got = 0
    for _ in range(200):
        got += sum(len(data) for kind, _, data in slot(near, far) if kind == DATA)
        slot(far, near)
    assert got == WINDOW and near.room(stream) == 0
    far.pass_on(stream, WINDOW)
    slot(far, near)
    assert near.room(stream) == WINDOW


def test_both_ends_know_what_is_under_way():
    near, far = pair()
    lost = [near.seal(near.next()) for _ in range(5)]
    assert near.under_way == 5
    for made in lost[:3]:
        far.feed(made)
    slot(far, near)
    assert near.under_way == 2


def test_a_stream_gets_its_turn_beside_a_busy_one():
    near, far = pair()
    busy, other = near.open("busy"), near.open("other")
    near.write(busy, bytes(WINDOW))
    near.write(other, b"hello")
    heard = [event for _ in range(3) for event in slot(near, far)]
    assert (DATA, other, b"hello") in heard


def test_a_closed_stream_is_nothing_any_more():
    near, far = pair()
    stream = near.open("there")
    slot(near, far)
    far.close(stream, "no such place")
    assert slot(far, near) == [(CLOSE, stream, b"no such place")]
    assert not near.knows(stream) and near.idle
    far.close(stream)
    assert slot(far, near) == []


WRONG = {
    "another size": bytes(FRAME - 1),
    "more received than was sent": frame(received=1),
    "a kind there is not": frame(chunk(9, 1)),
    "a chunk that goes on outside": frame(chunk(DATA, 1, b"x", size=500)),
    "bytes behind the last chunk": bytes(FRAME - 1) + b"x",
    "an opening by the wrong end": frame(chunk(OPEN, 1)),
    "more than a stream takes": None,
    "more credit than was used": None,
    "a malformed credit": None,
    "bytes behind the end": None,
}


@pytest.mark.parametrize("what", WRONG)
def test_whoever_does_not_keep_to_the_frames_is_refused(what):
    near, _ = pair()
    stream = near.open("there")
    made = {
        "more than a stream takes": [frame(*[chunk(DATA, stream, bytes(400))])]
        * (WINDOW // 400 + 1),
        "more credit than was used": [frame(chunk(CREDIT, stream, bytes((0, 0, 0, 1))))],
        "a malformed credit": [frame(chunk(CREDIT, stream, b"123"))],
        "bytes behind the end": [frame(chunk(EOF, stream), chunk(DATA, stream, b"x"))],
    }.get(what, [WRONG[what]])
    with pytest.raises(FrameError):
        for each in made:
            near.feed(each)


def test_there_is_a_bound_to_streams_and_targets():
    near, far = pair()
    for number in range(STREAMS):
        near.open(str(number))
    with pytest.raises(FrameError):
        near.open("one more")
    with pytest.raises(FrameError):
        pair()[0].open("x" * 256)
    with pytest.raises(FrameError):
        far.open("there")
    many = [chunk(OPEN, number + 1) for number in range(STREAMS + 1)]
    with pytest.raises(FrameError):
        far.feed(frame(*many))


@given(st.binary(min_size=FRAME, max_size=FRAME), st.booleans())
def test_any_frame_gives_events_or_is_refused(noise, opens):
    """The head is what it should be, so that the rest is looked at too."""
    machine = Frames(opens=opens)
    if opens:
        machine.open("there")
    for data in (
        noise,
        bytes(4) + noise[4:],
        frame(chunk(noise[0] % 9, 1, noise[1 : noise[1] + 2])),
    ):
        try:
            events = machine.feed(data)
        except FrameError:
            continue
        assert all(OPEN <= kind <= JUNK for kind, _, _ in events)
    assert len(machine.seal(machine.next())) == FRAME


def test_a_late_word_of_a_stream_that_ended_does_not_reach_the_next_one():
    near, far = pair()
    old = near.open("there")
    slot(near, far)
    near.close(old)
    far.close(old, "the connection broke")  # before word of it came
    new = near.open("there")
    assert slot(far, near) == []
    assert near.knows(new) and new != old


def test_numbers_of_streams_are_used_again_only_when_they_are_free():
    near, far = pair()
    rng = random.Random(1)
    alive = []
    for _ in range(300):
        if len(alive) == STREAMS or (alive and rng.random() < 0.5):
            near.close(alive.pop(rng.randrange(len(alive))))
        else:
            stream = near.open("there")
            assert stream not in alive
            alive.append(stream)
        slot(near, far)
        slot(far, near)
