"""Many streams in frames of one size: a pure machine, the same at both ends.

    frame = received: u32, chunks, zeros     always FRAME bytes
    chunk = kind: u8, stream: u16, size: u16, data

`received` counts the frames that came so far (mod 2^32), in every frame, so what is under way is known
without a message of its own. What real chunks leave of a frame is a JUNK chunk, which is as much work for
both ends as a real one: how busy they are would else be seen by how late cells are.
A stream's sender has at most WINDOW bytes that the other end did not pass on yet.

The other end is not trusted: any bytes give events or a FrameError, and what is held is bounded by
STREAMS x WINDOW.
"""

from collections import deque
from struct import Struct
from struct import error as StructError

CELL = 488
"""Stream bytes that one relay cell holds on today's circuits (tor 0.4.9 with CGO; 498 on older ones)."""

ENVELOPE = 17
"""Bytes of a session's Data message around its data: length 4, tag 1, offset 8, length 4."""

FRAME = CELL - ENVELOPE
"""One message with one frame is one cell, whoever looks at it."""

STREAMS = 32
"""Open at once: a command has one or two for each function it uses."""

WINDOW = 32 * 1024
"""Bytes of one stream under way. At 25 KB/s they are more than a second."""

MAX_TARGET = 255
"""Bytes of where a stream leads."""

OPEN, OPENED, DATA, CREDIT, EOF, CLOSE, JUNK = range(1, 8)
"""OPEN(target), OPENED, DATA(bytes), CREDIT(u32: bytes passed on), EOF, CLOSE(reason), JUNK(bytes)."""

_HEAD = Struct(">I")
_CHUNK = Struct(">BHH")
_CREDIT = Struct(">I")
_WRAP = 1 << 32
_NUMBERS = (1 << 16) - 1  # of streams, from 1 on

Event = tuple[int, int, bytes]
"""(kind, stream, data)"""


class FrameError(Exception):
    """The other end does not keep to this."""


class _Stream:
    def __init__(self) -> None:
        self.credit = WINDOW  # bytes the other end still takes
        self.allowed = WINDOW  # bytes it may still send
        self.passed_on = 0  # bytes to give credit for
        self.queue = bytearray()
        self.ended = False  # nothing is written any more
        self.eof_sent = False
        self.eof_came = False


class Frames:
    """`opens` at the one end that opens streams; the other one answers."""

    def __init__(self, opens: bool) -> None:
        self._opens = opens
        self._streams: dict[int, _Stream] = {}
        self._control: deque[bytes] = deque()  # whole chunks that go before all data
        self._last = 0
        self._turn: deque[int] = deque()  # streams, whose turn to send comes next first
        self.junk = bytes(FRAME)  # what fills frames: content does not matter
        self.sent = self.received = 0  # frames
        self._told = 0  # of ours, those the other end said it has

    @property
    def under_way(self) -> int:
        """Frames of ours that the other end has not said it has."""
        return self.sent - self._told

    @property
    def idle(self) -> bool:
        """Nothing but junk is to be sent, and no stream is open."""
        return not self._streams and not self._control

    # -- streams ---------------------------------------------------------------------------------

    def open(self, target: str) -> int:
        """A new stream; OPENED or CLOSE comes when the other end has tried. Raises FrameError when
        there are too many, or the target is too long."""
        name = target.encode()
        if not self._opens or len(self._streams) >= STREAMS or len(name) > MAX_TARGET:
            raise FrameError("no further stream can be opened")
        # Never the number of one that just ended: what is under way of it would be taken for the new one's.
        self._last = self._last % _NUMBERS + 1
        while self._last in self._streams:
            self._last = self._last % _NUMBERS + 1
        self._add(self._last)
        self._tell(OPEN, self._last, name)
        return self._last

    def opened(self, stream: int) -> None:
        """The stream leads where it should."""
        self._tell(OPENED, stream)

    def knows(self, stream: int) -> bool:
        """Whether the stream is open, one way at least."""
        return stream in self._streams

    def room(self, stream: int) -> int:
        """Bytes that may be written now."""
        found = self._streams.get(stream)
        return 0 if found is None or found.ended else found.credit - len(found.queue)

    def queued(self, stream: int) -> int:
        """Bytes written and not sent yet."""
        found = self._streams.get(stream)
        return len(found.queue) if found else 0

    def write(self, stream: int, data: bytes) -> None:
        """At most `room(stream)` bytes."""
        self._streams[stream].queue += data

    def end(self, stream: int) -> None:
        """No byte follows those that were written."""
        self._streams[stream].ended = True

    def close(self, stream: int, reason: str = "") -> None:
        """Both ways, at once."""
        if self._drop(stream):
            self._tell(CLOSE, stream, reason.encode()[:MAX_TARGET])

    def pass_on(self, stream: int, count: int) -> None:
        """So many of the bytes that came have left for where they belong."""
        found = self._streams.get(stream)
        if found is None:
            return
        found.passed_on += count
        if found.passed_on >= WINDOW // 2:
            self._tell(CREDIT, stream, _CREDIT.pack(found.passed_on))
            found.allowed += found.passed_on
            found.passed_on = 0

    # -- frames ----------------------------------------------------------------------------------

    def next(self) -> bytes:
        """The frame of the next slot, without its head: junk if there is nothing to send.

        What is in it counts as sent: it must be sent before another one is made."""
        body = bytearray()
        room = FRAME - _HEAD.size
        while self._control and len(body) + len(self._control[0]) <= room:
            body += self._control.popleft()
        for _ in range(len(self._turn)):
            if not self._turn or room - len(body) <= _CHUNK.size:
                break
            self._turn.rotate(-1)
            self._fill(body, self._turn[-1], room - len(body) - _CHUNK.size)
        if (left := room - len(body) - _CHUNK.size) > 0:
            junk = self.junk[:left]
            body += _CHUNK.pack(JUNK, 0, len(junk)) + junk
        return bytes(body) + bytes(room - len(body))

    def seal(self, body: bytes) -> bytes:
        """The whole frame, with the number of those that came up to now."""
        self.sent += 1
        return _HEAD.pack(self.received % _WRAP) + body

    def feed(self, frame: bytes) -> list[Event]:
        """What one frame brought. Raises FrameError."""
        if len(frame) != FRAME:
            raise FrameError("a frame of another size")
        self.received += 1
        self._hear(_HEAD.unpack_from(frame)[0])
        events = []
        at = _HEAD.size
        while at < FRAME and frame[at]:
            try:
                kind, stream, size = _CHUNK.unpack_from(frame, at)
            except StructError:
                raise FrameError("a chunk ends outside its frame") from None
            at += _CHUNK.size
            data = frame[at : at + size]
            if len(data) != size:
                raise FrameError("a chunk ends outside its frame")
            at += size
            events += self._take(kind, stream, data)
        if any(frame[at:]):
            raise FrameError("something stands behind the last chunk")
        return events

    # -- inside ----------------------------------------------------------------------------------

    def _add(self, stream: int) -> None:
        self._streams[stream] = _Stream()
        self._turn.append(stream)

    def _drop(self, stream: int) -> bool:
        if self._streams.pop(stream, None) is None:
            return False
        self._turn.remove(stream)
        return True

    def _tell(self, kind: int, stream: int, data: bytes = b"") -> None:
        self._control.append(_CHUNK.pack(kind, stream, len(data)) + data)

    def _fill(self, body: bytearray, stream: int, room: int) -> None:
        """One chunk of this stream, if it has one."""
        found = self._streams[stream]
        size = min(room, len(found.queue), found.credit)
        if size > 0:
            body += _CHUNK.pack(DATA, stream, size) + found.queue[:size]
            del found.queue[:size]
            found.credit -= size
        elif found.ended and not found.queue and not found.eof_sent:
            body += _CHUNK.pack(EOF, stream, 0)
            found.eof_sent = True
            self._done(stream)

    def _done(self, stream: int) -> None:
        found = self._streams[stream]
        if found.eof_sent and found.eof_came:
            self._drop(stream)

    def _hear(self, told: int) -> None:
        fresh = (told - self._told) % _WRAP
        if fresh > self.under_way:
            raise FrameError("more frames are said to have come than were sent")
        self._told += fresh

    def _take(self, kind: int, stream: int, data: bytes) -> list[Event]:
        if kind == JUNK:
            return [(kind, stream, data)]
        found = self._streams.get(stream)
        if kind == OPEN:
            if self._opens or found or len(self._streams) >= STREAMS:
                raise FrameError("a stream that cannot be opened")
            self._add(stream)
            return [(OPEN, stream, data)]
        if kind not in (OPENED, DATA, CREDIT, EOF, CLOSE):
            raise FrameError("a chunk of no known kind")
        if found is None:
            return []  # it was closed here meanwhile
        if kind == OPENED and not self._opens:
            raise FrameError("a stream is opened by the wrong end")
        if kind == CREDIT:
            self._credit(found, data)
            return []
        if kind == DATA:
            if found.eof_came or len(data) > found.allowed:
                raise FrameError("more bytes than a stream takes")
            found.allowed -= len(data)
        elif kind == EOF:
            found.eof_came = True
            self._done(stream)
        elif kind == CLOSE:
            self._drop(stream)
        return [(kind, stream, data)]

    def _credit(self, found: _Stream, data: bytes) -> None:
        if len(data) != _CREDIT.size:
            raise FrameError("a malformed credit")
        found.credit += _CREDIT.unpack(data)[0]
        if found.credit > WINDOW:
            raise FrameError("more credit than was used")
