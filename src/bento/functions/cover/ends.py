"""The sockets at one end of the covered streams, moved a little in each slot.

Nothing here waits, and nothing here runs by itself: `turn` is called once a slot, after its cell has
left, and does a bounded piece of work, so that having much to do delays no cell.
"""

import socket
from collections.abc import Callable, Iterable

from .frames import CLOSE, DATA, EOF, FRAME, JUNK, OPEN, OPENED, Event, Frames

_AHEAD = 4 * FRAME
"""Bytes of one stream that are read before they can be sent: as one frame leaves in a slot, more would
only be copied to and fro."""

Opened = Callable[[int, bytes], None]


class Void:
    """Where junk goes and comes from: a socket like those of streams, so that it is as much work."""

    def __init__(self) -> None:
        self.outbox = bytearray()
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)

    def turn(self, junk: bytes) -> bytes:
        """What came goes out and is what is sent next; `junk` again if nothing came."""
        if not self.outbox:
            return junk
        try:
            sent = self._ends[0].send(self.outbox)
            del self.outbox[:sent]
            return self._ends[1].recv(FRAME)
        except OSError:
            self.outbox.clear()
            return junk

    def close(self) -> None:
        for end in self._ends:
            end.close()


class Ends:
    """`on_open` is asked for the socket of a stream that the other end opens, and gives it by `join`;
    `on_opened` hears of a stream that this end opened, and `on_refused` of one that leads nowhere."""

    def __init__(
        self,
        frames: Frames,
        *,
        on_open: Opened = lambda stream, target: None,
        on_opened: Callable[[int], None] = lambda stream: None,
        on_refused: Opened = lambda stream, reason: None,
    ) -> None:
        self.frames = frames
        self._sockets: dict[int, socket.socket] = {}
        self._outbox: dict[int, bytearray] = {}  # what the socket did not take yet
        self._finished: set[int] = set()  # streams whose other end sends no more
        self._waiting: set[int] = set()  # opened by this end, and not answered
        self._void = Void()
        self._on_open, self._on_opened, self._on_refused = on_open, on_opened, on_refused

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, sock: socket.socket, target: str) -> int:
        """A new stream to `target`, whose near end is `sock`. Raises FrameError."""
        stream = self.frames.open(target)
        self._waiting.add(stream)
        self.join(stream, sock)
        return stream

    def join(self, stream: int, sock: socket.socket) -> None:
        """`sock` is this end of `stream`."""
        sock.setblocking(False)
        self._sockets[stream] = sock
        self._outbox.setdefault(stream, bytearray())

    def accept(self, stream: int, sock: socket.socket) -> None:
        """The stream that the other end opened leads to `sock`."""
        if stream not in self._outbox:  # it was closed meanwhile
            sock.close()
            return
        self.join(stream, sock)
        self.frames.opened(stream)

    def refuse(self, stream: int, reason: str) -> None:
        """The stream that the other end opened leads nowhere."""
        self.frames.close(stream, reason)
        self._forget(stream)

    def tell(self, stream: int, line: bytes) -> None:
        """A few bytes of this end's own for whoever is at the socket of `stream`."""
        sock = self._sockets.get(stream)
        if sock is not None:
            try:
                sock.send(line)
            except OSError:
                pass  # nobody is there any more, as the next turn will find

    def turn(self, arrived: Iterable[bytes]) -> None:
        """What came is given away, and what can be sent next is taken. Raises FrameError."""
        for frame in arrived:
            for event in self.frames.feed(frame):
                self._happened(event)
        for stream in tuple(self._sockets):
            self._drain(stream)
            self._fill(stream)
        self.frames.junk = self._void.turn(self.frames.junk)

    def close(self) -> None:
        self._void.close()
        for stream in tuple(self._outbox):
            self._forget(stream)

    # -- inside ----------------------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        kind, stream, data = event
        if kind == OPEN:
            self._outbox[stream] = bytearray()
            self._on_open(stream, data)
        elif kind == DATA and stream in self._outbox:
            self._outbox[stream] += data
        elif kind == JUNK:
            self._void.outbox += data
        elif kind == EOF:
            self._finished.add(stream)
        elif kind == OPENED:
            self._waiting.discard(stream)
            self._on_opened(stream)
        elif kind == CLOSE:
            if stream in self._waiting:
                self._on_refused(stream, data)
            self._drain(stream)
            self._forget(stream)

    def _drain(self, stream: int) -> None:
        """From the outbox to the socket, as far as it takes it."""
        sock, outbox = self._sockets.get(stream), self._outbox.get(stream)
        if sock is None or outbox is None:
            return
        try:
            if outbox:
                sent = sock.send(outbox)
                del outbox[:sent]
                self.frames.pass_on(stream, sent)
            if stream in self._finished and not outbox:
                self._finished.discard(stream)
                sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._break(stream)

    def _fill(self, stream: int) -> None:
        """From the socket to the frames, as much as may leave soon."""
        sock = self._sockets.get(stream)
        room = min(self.frames.room(stream), _AHEAD - self.frames.queued(stream))
        if sock is None:
            return
        if room <= 0:
            self._settle(stream)
            return
        try:
            data = sock.recv(room)
        except BlockingIOError:
            return
        except OSError:
            self._break(stream)
            return
        if data:
            self.frames.write(stream, data)
        else:
            self.frames.end(stream)

    def _settle(self, stream: int) -> None:
        """A stream that ended both ways is forgotten once everything was given away."""
        open_ = self.frames.knows(stream) or stream in self._finished or self._outbox[stream]
        if not open_:
            self._forget(stream)

    def _break(self, stream: int) -> None:
        self.frames.close(stream, "the connection broke")
        self._forget(stream)

    def _forget(self, stream: int) -> None:
        self._outbox.pop(stream, None)
        self._finished.discard(stream)
        self._waiting.discard(stream)
        sock = self._sockets.pop(stream, None)
        if sock is not None:
            sock.close()
