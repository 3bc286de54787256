"""However often a connection is cut, each byte arrives once and in order, and memory stays bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.protocol import limits
from bento.protocol.streams import Incoming, Outgoing

WINDOW = 300


class CutStream(RuleBasedStateMachine):
    """A sender, a receiver, and a connection that loses what is in flight."""

    def __init__(self):
        super().__init__()
        self.out = Outgoing(WINDOW)
        self.inc = Incoming()
        self.written = bytearray()
        self.delivered = bytearray()
        self.wire = []
        self.consumed = 0

    @rule(size=st.integers(1, 200))
    def write(self, size):
        size = min(size, self.out.space)
        data = bytes((len(self.written) + i) % 251 for i in range(size))
        self.out.write(data)
        self.written += data

    @rule()
    def send(self):
        piece = self.out.take()
        if piece:
            self.wire.append(piece)

    @precondition(lambda self: self.wire)
    @rule()
    def deliver(self):
        self.delivered += self.inc.accept(*self.wire.pop(0))

    @rule(part=st.floats(0, 1))
    def consume(self, part):
        self.consumed += int((len(self.delivered) - self.consumed) * part)
        self.out.acknowledge(max(self.out.acknowledged, self.consumed))

    @rule()
    def cut(self):
        self.wire.clear()
        self.inc.resume(self.consumed)
        del self.delivered[self.consumed :]
        self.out.resume(self.consumed)

    @invariant()
    def what_arrived_is_what_was_written(self):
        assert self.written[: len(self.delivered)] == self.delivered

    @invariant()
    def memory_is_bounded(self):
        assert sum(map(len, self.out._chunks)) <= WINDOW + 200

    def teardown(self):
        self.cut()
        while piece := self.out.take():
            self.delivered += self.inc.accept(*piece)
        assert self.delivered == self.written


TestCutStream = CutStream.TestCase


@given(st.binary(max_size=500), st.integers(0, 500))
def test_a_stream_can_begin_in_its_middle(data, offset):
    out, inc = Outgoing.at(offset), Incoming.at(offset)
    out.write(data)
    got = b""
    while piece := out.take():
        got += inc.accept(*piece)
    assert got == data
    assert inc.received == offset + len(data)


def test_large_writes_leave_in_frames():
    out = Outgoing()
    out.write(bytes(3 * limits.CHUNK + 5))
    sizes = []
    while piece := out.take():
        sizes.append(len(piece[1]))
    assert sizes == [limits.CHUNK] * 3 + [5]


def test_a_receiver_refuses_gaps_and_bytes_behind_the_end():
    inc = Incoming()
    inc.accept(0, b"abc")
    with pytest.raises(RemoteProtocolError):
        inc.accept(4, b"e")
    with pytest.raises(RemoteProtocolError):
        inc.finish(5)
    inc.finish(3)
    with pytest.raises(RemoteProtocolError):
        inc.accept(3, b"d")


def test_a_sender_refuses_acknowledgements_of_the_future_and_resumption_of_the_past():
    out = Outgoing()
    out.write(b"abc")
    with pytest.raises(RemoteProtocolError):
        out.acknowledge(1)
    out.take()
    out.acknowledge(2)
    with pytest.raises(RemoteProtocolError):
        out.resume(1)
    with pytest.raises(RemoteProtocolError):
        out.resume(4)


def test_nothing_is_written_behind_a_closed_end():
    out = Outgoing()
    out.close()
    with pytest.raises(LocalProtocolError):
        out.write(b"x")


def test_acknowledgements_are_rare_until_the_end():
    inc = Incoming()
    size = limits.ACK_EVERY - 1
    inc.accept(0, bytes(size))
    assert inc.due(size) is None
    inc.accept(size, b"x")
    assert inc.due(size + 1) == size + 1
    inc.accept(size + 1, b"y")
    assert inc.due(size + 2) is None
    inc.finish(size + 2)
    assert inc.due(size + 2) == size + 2
    assert inc.due(size + 2) is None
