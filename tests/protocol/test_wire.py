"""Any bytes are messages or a declared error, and how they were cut does not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.protocol import broker, control, door, limits, padding, session
from bento.protocol.wire import FrameReader, encode, encode_uncopied

DOOR = (
    door.Hello, door.Welcome, door.Create, door.Created, door.Open,
    door.Opened, door.Shutdown, door.Done, door.Inquire, door.Renew, door.Refused,
    door.Busy, door.Seal, door.Sealed, padding.Pad,
)  # fmt: skip
CONTROL = (control.Start, control.Bound, control.Measure, control.Measured)
BROKER = (broker.Reach, broker.Reached, broker.Survey, broker.Surveyed)
ALL = (*DOOR, *session.FROM_CLIENT, *session.FROM_GUEST, *CONTROL, *BROKER)

EXAMPLES = [
    door.Hello((1, 7)),
    door.Welcome(1, b"{}", bytes(64), bytes(32), 50, 1 << 40),
    door.Create('image = "python"', bytes(32), b"n" * 48, b"pass"),
    door.Created(b"i" * 32, b"s" * 32, 1_700_000_000),
    door.Open(b"t" * 32, b"s" * 16, b""),
    door.Opened(),
    door.Shutdown(b"t" * 32, b"p" * 64),
    door.Done(),
    door.Inquire(),
    door.Renew(b"t" * 32),
    door.Seal(2, 3600, 60, b"n" * 16),
    door.Sealed(b"t" * 32),
    broker.Reach("box1"),
    broker.Reached("box1", bytes(20), bytes(32)),
    broker.Survey(128),
    broker.Surveyed(("box1 AB key",)),
    door.Refused("box", "no", "yes"),
    door.Busy("no", "yes", 5, 1 << 40, 7, b"s" * 16),
    padding.Pad(bytes(20)),
    session.Load(10, 0, b"o" * 16),
    session.Code(b"def main"),
    session.Loading(0),
    session.Loaded(),
    session.Present(b"t" * 90, b"p" * limits.HOLDER_PROOF),
    session.Granted(b"t" * 90),
    session.Invoke(b"s" * 16, b"N", True, b""),
    session.Attach(b"s" * 16, 3, b"o" * 16),
    session.Attached(3, 5),
    session.Data(7, b"payload"),
    session.Ack(7),
    session.Eof(9),
    session.Log("line"),
    session.End(9, True, "the function raised E", "Traceback"),
    session.Bye(),
    session.Failed("box", "detail", "hint", ""),
    control.Start(bytes(32), 1, 2, 3, 4, 5, 6, True, True),
    control.Bound(b"k" * 32, b"t" * 32),
    control.Measure(7, bytes(64)),
    control.Measured(7, b"evidence"),
]


def read(data, types=ALL, limit=limits.SESSION_FRAME):
    return list(FrameReader(types, limit).feed(data))


def outcome(feed):
    """(messages, whether it ended in the declared error)."""
    messages = []
    try:
        for message in feed:
            messages.append(message)
    except RemoteProtocolError:
        return messages, True
    return messages, False


def test_there_is_an_example_of_every_message():
    assert {type(message) for message in EXAMPLES} == set(ALL)


def test_no_two_messages_share_a_tag():
    types = set(ALL)
    assert len({cls.TAG for cls in types}) == len(types)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_was(message):
    assert read(encode(message)) == [message]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_cut_or_extended_inside_its_frame_is_an_error(message):
    frame = encode(message)
    for change in (-1, 1):
        body = frame[4:-1] if change < 0 else frame[4:] + b"\0"
        if not body:
            continue
        with pytest.raises(RemoteProtocolError):
            read(len(body).to_bytes(4, "big") + body)


@given(st.lists(st.sampled_from(EXAMPLES), max_size=6), st.binary(max_size=40), st.data())
def test_whole_or_byte_by_byte_is_the_same(messages, junk, data):
    stream = b"".join(map(encode, messages)) + junk
    reader = FrameReader(ALL, limits.SESSION_FRAME)
    bytewise = outcome(m for i in range(len(stream)) for m in reader.feed(stream[i : i + 1]))
    assert bytewise == outcome(FrameReader(ALL, limits.SESSION_FRAME).feed(stream))
    assert bytewise[0][: len(messages)] == messages


@given(st.binary(max_size=300))
def test_any_body_gives_messages_or_the_declared_error(body):
    outcome(FrameReader(ALL, limits.SESSION_FRAME).feed(len(body).to_bytes(4, "big") + body))


def test_a_frame_over_the_limit_is_refused_before_it_is_held():
    reader = FrameReader(ALL, 100)
    with pytest.raises(RemoteProtocolError, match="limit"):
        list(reader.feed((101).to_bytes(4, "big")))


def test_what_follows_the_last_message_is_handed_over_untouched():
    reader = FrameReader(DOOR, limits.DOOR_FRAME)
    for message in reader.feed(
        encode(door.Open(b"t" * 32, b"s" * 16, b"")) + b"\xff\xff\xff\xffguest"
    ):
        assert isinstance(message, door.Open)
        reader.stop()
    assert reader.rest() == b"\xff\xff\xff\xffguest"
    assert reader.rest() == b""


def test_a_message_never_shows_what_it_carries():
    assert "t" * 8 not in repr(door.Open(b"t" * 32, b"s" * 16, b""))


def test_a_frame_in_two_pieces_is_the_same_frame_and_its_blob_the_same_bytes():
    data = session.Data(7, b"x" * 1000)
    head, blob = encode_uncopied(data)
    assert head + blob == encode(data)
    assert blob is data.data
    with pytest.raises(LocalProtocolError):
        encode_uncopied(session.Data(0, bytes(limits.CHUNK_MAX + 1)))


def test_a_field_over_its_limit_is_our_own_mistake():
    with pytest.raises(LocalProtocolError):
        encode(session.Data(0, bytes(limits.CHUNK_MAX + 1)))
    with pytest.raises(LocalProtocolError):
        door.Open()
