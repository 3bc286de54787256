"""One stream of a circuit: bytes both ways, under the stream's own flow control (tor-spec 7.4).

    state           we sent END   they sent END   may write   may read
    OPENING                                       (optimistic data only)
    OPEN                                          yes         yes
    HALF_CLOSED     yes                           no          no; what still comes is dropped
    ENDED                         yes             no          what is buffered, then the end
    CLOSED          either        either          no          what is buffered, then the end

A half-closed stream keeps its number until the other side has ended it too: late cells for it are
normal, and are still counted against its window, so that a peer cannot send without end.
With fixed windows each 50 cells *consumed* are acknowledged; with congestion control the reader
says XOFF when too much waits, and XON when it has been read (proposal 324, 4); a peer that sends on and
on after it ends the circuit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import relay
from bento.onion.errors import CircuitClosed, StreamEnded
from bento.onion.pacing import Pace
from bento.onion.relay import MAX_DATA, Connected, EndReason, RelayCommand, RelayMessage
from bento.onion.window import STREAM_INCREMENT, STREAM_START, FixedWindow, ReceiveWindow

XOFF_BYTES = 500 * MAX_DATA  # cc_xoff_client: what may wait unread before we say XOFF
MAX_UNREAD_BYTES = 8 << 20  # more than was under way when we said XOFF: C-tor's windows are smaller
PACED_BURST_BYTES = 8 * MAX_DATA  # under an advised rate: full cells, not one per few bytes
BURST_CELLS = 128  # cells sealed at once; more would let one stream hold up the others


class StreamState(Enum):
    OPENING = auto()
    OPEN = auto()
    HALF_CLOSED = auto()
    ENDED = auto()
    CLOSED = auto()


class StreamHost(Protocol):
    """What a stream needs of its circuit."""

    def send_message(self, message: RelayMessage, hop: int) -> None: ...
    def send_data(self, stream: Stream, data: memoryview, cells: int) -> tuple[int, int]: ...
    def room(self, hop: int) -> int: ...
    async def wait_for_room(self, hop: int) -> None: ...
    def forget(self, stream: Stream) -> None: ...
    def now(self) -> float: ...


_WRITABLE = frozenset({StreamState.OPENING, StreamState.OPEN})
_RECEIVING = frozenset({StreamState.OPENING, StreamState.OPEN, StreamState.HALF_CLOSED})


class Stream:
    """Made by `Circuit.open_stream` and friends, or from an incoming BEGIN."""

    def __init__(self, circuit: StreamHost, number: int, hop: int, *, windowed: bool) -> None:
        self.number = number
        self.hop = hop
        self.state = StreamState.OPENING
        self.connected: asyncio.Future[Connected] = asyncio.get_running_loop().create_future()
        self.bytes_read = 0
        self.bytes_written = 0
        self._circuit = circuit
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._unread_cells = 0
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._failure: CircuitClosed | StreamEnded | None = None
        self._pace = Pace()
        self._stopped = False  # they said XOFF
        self._told_to_stop = False  # we said XOFF
        self._send = FixedWindow(STREAM_START, STREAM_INCREMENT) if windowed else None
        self._receive = ReceiveWindow() if windowed else None

    # -- for the application

    async def read(self) -> bytes:
        """All bytes that are there, waiting for some; b"" at the orderly end.

        Raises StreamEnded or CircuitClosed when the stream was cut, after the last byte.
        """
        while not self._chunks:
            if self.state in (StreamState.ENDED, StreamState.CLOSED, StreamState.HALF_CLOSED):
                if self._failure is not None:
                    raise self._failure
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        self.bytes_read += len(data)
        self._consumed()
        return data

    async def read_all(self, limit: int) -> bytes:
        """Everything up to the end; RemoteProtocolError for more than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise RemoteProtocolError(f"the peer sent more than {limit} bytes")
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Sends all of `data`, as windows and the link allow. Raises when the stream is over."""
        view, at = memoryview(data), 0
        while at < len(data):
            self._check_writable()
            cells = min(self._circuit.room(self.hop), BURST_CELLS)
            if self._send is not None:
                cells = min(cells, self._send.room)
            burst = min(len(data) - at, PACED_BURST_BYTES)
            size = min(len(data) - at, self._pace.allowed(self._circuit.now()))
            if size < burst or not cells or self._stopped:
                await self._wait_to_write(burst)
                continue
            used, sent = self._circuit.send_data(self, view[at : at + size], cells)
            if self._send is not None:
                self._send.sent(sent)
            self._pace.spend(used)
            at += used
            self.bytes_written += used
            await asyncio.sleep(0)

    def close(self, reason: int = EndReason.DONE) -> None:
        """Sends END; what still arrives is dropped. Does nothing when it is over already."""
        if self.state in _WRITABLE:
            self._send_message(RelayCommand.END, bytes([reason]))
            self.state = StreamState.HALF_CLOSED
            self._chunks.clear()
            self._wake()
        elif self.state is StreamState.ENDED:
            self.state = StreamState.CLOSED
            self._circuit.forget(self)

    # -- for the circuit

    def receive(self, message: RelayMessage) -> None:
        """Takes a message for this stream; RemoteProtocolError closes the circuit."""
        if self.state not in _RECEIVING:
            return
        if message.command == RelayCommand.DATA:
            self._on_data(message.data, message.cells)
            return
        handler = _HANDLERS.get(message.command)
        if handler is None:
            raise RemoteProtocolError(f"relay command {message.command} names a stream")
        handler(self, message.data)

    def cut(self, failure: CircuitClosed) -> None:
        """The circuit is gone."""
        if self.state is not StreamState.CLOSED:
            self.state = StreamState.CLOSED
            self._failure = self._failure or failure
            self._settle(failure)

    def accept(self) -> None:
        """Answers an incoming BEGIN."""
        self.state = StreamState.OPEN
        self.connected.set_result(Connected(None, None))
        self._send_message(RelayCommand.CONNECTED, b"")

    # -- inside

    def _send_message(self, command: int, data: bytes) -> None:
        self._circuit.send_message(RelayMessage(command, self.number, data), self.hop)

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.state not in _WRITABLE:
            raise StreamEnded(EndReason.DONE)

    async def _wait_to_write(self, wanted: int) -> None:
        if self._stopped or (self._send is not None and not self._send.room):
            self._writable.clear()
            await self._writable.wait()
        elif pause := self._pace.wait(wanted):
            await asyncio.sleep(pause)
        else:
            await self._circuit.wait_for_room(self.hop)

    def _consumed(self) -> None:
        cells, self._unread_cells = self._unread_cells, 0
        if self.state not in _WRITABLE:
            return
        if self._receive is not None:
            for _ in range(self._receive.consumed(cells)):
                self._send_message(RelayCommand.SENDME, b"")
        elif self._told_to_stop:
            self._told_to_stop = False
            self._send_message(RelayCommand.XON, relay.pack_xon())

    def _wake(self) -> None:
        self._readable.set()
        self._writable.set()

    def _settle(self, failure: CircuitClosed | StreamEnded) -> None:
        if not self.connected.done():
            self.connected.set_exception(failure)
            self.connected.exception()  # it may be that nobody asks
        self._wake()

    def _on_connected(self, data: bytes) -> None:
        said = relay.parse_connected(data)
        if self.state is StreamState.OPEN:
            raise RemoteProtocolError("a stream was connected twice")
        if self.state is StreamState.OPENING:
            self.state = StreamState.OPEN
            self.connected.set_result(said)

    def _on_end(self, data: bytes) -> None:
        reason = relay.parse_end(data)
        opening = self.state is StreamState.OPENING
        over = StreamEnded(reason)
        if opening or reason != EndReason.DONE:
            self._failure = over
        half = self.state is StreamState.HALF_CLOSED
        self.state = StreamState.CLOSED if half or opening else StreamState.ENDED
        self._settle(over)
        self._circuit.forget(self)

    def _on_sendme(self, data: bytes) -> None:
        if self._send is None:
            raise RemoteProtocolError("a stream without windows was acknowledged")
        self._send.acknowledged(self._circuit.now())
        self._writable.set()

    def _on_xoff(self, data: bytes) -> None:
        relay.parse_xoff(data)
        if self._send is not None or self._stopped:
            raise RemoteProtocolError("an XOFF came that makes no sense")
        self._stopped = True

    def _on_xon(self, data: bytes) -> None:
        rate = relay.parse_xon(data)
        if self._send is not None:
            raise RemoteProtocolError("an XON came on a stream with windows")
        self._stopped = False
        self._pace.set_rate(rate, self._circuit.now())
        self._writable.set()

    def _on_data(self, data: bytes, cells: int) -> None:
        if self._receive is not None:
            self._receive.received(cells)
        if self.state is StreamState.HALF_CLOSED:
            return
        self._unread_cells += cells
        self._buffered += len(data)
        self._chunks.append(data)
        self._readable.set()
        if self._buffered > MAX_UNREAD_BYTES:
            raise RemoteProtocolError("the peer does not stop where it was told to")
        if self._receive is None and self._buffered > XOFF_BYTES and not self._told_to_stop:
            self._told_to_stop = True
            self._send_message(RelayCommand.XOFF, relay.pack_xoff())


_HANDLERS: dict[int, Callable[[Stream, bytes], None]] = {
    RelayCommand.CONNECTED: Stream._on_connected,
    RelayCommand.END: Stream._on_end,
    RelayCommand.SENDME: Stream._on_sendme,
    RelayCommand.XOFF: Stream._on_xoff,
    RelayCommand.XON: Stream._on_xon,
}


class IncomingStream:
    """A BEGIN that waits for an answer: `accept` or `refuse`, once."""

    def __init__(self, stream: Stream, begin: relay.Begin) -> None:
        self.begin = begin
        self._stream: Stream | None = stream

    def accept(self) -> Stream:
        """Says CONNECTED; the stream is open."""
        stream = self._take()
        if stream.state is StreamState.OPENING:
            stream.accept()
        return stream

    def refuse(self, reason: int = EndReason.DONE) -> None:
        """Says END; onion services say DONE whatever the reason, to tell nothing."""
        self._take().close(reason)

    def _take(self) -> Stream:
        if self._stream is None:
            raise LocalProtocolError("an incoming stream was answered twice")
        stream, self._stream = self._stream, None
        return stream
