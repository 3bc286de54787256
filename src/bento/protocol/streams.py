"""One direction of a session, resumable: bytes numbered from 0, kept until acknowledged.

`Outgoing` is the sender's half (its buffer is the spool), `Incoming` the receiver's. A connection may
die at any byte: the next one starts at the offset the receiver really has, so at most the bytes in
flight (never more than the window) are sent again, and none is delivered twice.
"""

from __future__ import annotations

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.protocol import limits


class Outgoing:
    """Bytes to send. `window` bounds what is kept unacknowledged: `space` is the back-pressure."""

    def __init__(self, window: int = limits.WINDOW) -> None:
        self.window = window
        self.acknowledged = 0
        self.end = 0  # offset behind the last byte written
        self.closed = False  # no byte follows
        self._sent = 0  # offset behind the last byte handed to the present connection
        self._chunks: list[bytes] = []  # from `acknowledged` on; the first may begin before it
        self._first = 0  # offset of the first chunk
        self._next = 0  # index in _chunks of the chunk that holds `_sent`
        self._next_at = 0  # offset of that chunk

    @classmethod
    def at(cls, offset: int, window: int = limits.WINDOW) -> Outgoing:
        """A stream whose first `offset` bytes were sent and acknowledged by somebody before."""
        stream = cls(window)
        stream.acknowledged = stream.end = stream._sent = offset
        stream._first = stream._next_at = offset
        return stream

    @property
    def kept(self) -> int:
        """Bytes that are not acknowledged."""
        return self.end - self.acknowledged

    @property
    def space(self) -> int:
        """Bytes that may be written now."""
        return max(0, self.window - self.kept)

    @property
    def idle(self) -> bool:
        """Everything written so far was handed to the connection."""
        return self._sent == self.end

    def write(self, data: bytes) -> None:
        """Appends `data`, in pieces of at most limits.CHUNK; the caller waits for `space` first."""
        if self.closed:
            raise LocalProtocolError("the stream is closed")
        for start in range(0, len(data), limits.CHUNK):
            self._chunks.append(data[start : start + limits.CHUNK])
        self.end += len(data)

    def close(self) -> None:
        self.closed = True

    def take(self) -> tuple[int, bytes] | None:
        """The next (offset, bytes) to send on the present connection, if there is one."""
        if self._sent == self.end:
            return None
        chunk = self._chunks[self._next]
        data = chunk[self._sent - self._next_at :]
        offset = self._sent
        self._sent += len(data)
        self._next += 1
        self._next_at = self._sent
        return offset, data

    def acknowledge(self, offset: int) -> None:
        """The receiver has everything before `offset`; frees it."""
        if not self.acknowledged <= offset <= self._sent:
            raise RemoteProtocolError("an acknowledgement of bytes that were not sent")
        self.acknowledged = offset
        drop = 0
        while drop < self._next and self._first + len(self._chunks[drop]) <= offset:
            self._first += len(self._chunks[drop])
            drop += 1
        del self._chunks[:drop]
        self._next -= drop

    def resume(self, offset: int) -> None:
        """A new connection begins; the receiver has everything before `offset`."""
        if not self.acknowledged <= offset <= self.end:
            raise RemoteProtocolError(
                "the other side asks to resume outside of what is kept",
                "the session cannot be continued; invoke again",
            )
        self._next = 0
        self._next_at = self._first
        while self._next < len(self._chunks):
            behind = self._next_at + len(self._chunks[self._next])
            if behind > offset:
                break
            self._next_at = behind
            self._next += 1
        self._sent = offset
        self.acknowledge(offset)


class Incoming:
    """Bytes received, in order, each once."""

    def __init__(self) -> None:
        self.received = 0  # offset behind the last byte delivered
        self.closed = False
        self._acknowledged = 0

    @classmethod
    def at(cls, offset: int) -> Incoming:
        """A stream whose first `offset` bytes were received by somebody before."""
        stream = cls()
        stream.resume(offset)
        return stream

    def accept(self, offset: int, data: bytes) -> bytes:
        """What of `data` is new; raises RemoteProtocolError on a gap or on bytes behind the end."""
        if offset > self.received:
            raise RemoteProtocolError("bytes are missing in a stream")
        new = data[self.received - offset :]
        if new and self.closed:
            raise RemoteProtocolError("bytes behind the end of a stream")
        self.received += len(new)
        return new

    def finish(self, offset: int) -> None:
        """The sender's stream ends at `offset`."""
        if offset != self.received:
            raise RemoteProtocolError("a stream ends at a place that was not reached")
        self.closed = True

    def due(self, consumed: int) -> int | None:
        """The offset to acknowledge, once limits.ACK_EVERY bytes more were consumed (or at the end)."""
        if consumed - self._acknowledged < limits.ACK_EVERY and not (
            self.closed and consumed == self.received and consumed != self._acknowledged
        ):
            return None
        self._acknowledged = consumed
        return consumed

    def resume(self, consumed: int) -> None:
        """A new connection begins: what was not consumed is asked for again, and its end with it."""
        if self.received != consumed:
            self.closed = False
        self.received = consumed
        self._acknowledged = consumed
