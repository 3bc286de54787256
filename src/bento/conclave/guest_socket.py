"""The guest's end of the channel, shaped like the non-blocking socket it replaces.

A guest's loop reads and writes a session's socket; with this in its place the same loop serves an
attested session: `recv` gives what the client sent inside the channel, `send` takes what goes into it.
Invariant: nothing of the function's is accepted for sending before evidence was given; bytes that
the real socket does not take now are counted in `pending`, and the loop calls `flush` once it is
writable. Runs in the guest: standard library and the channel only.
"""

from __future__ import annotations

from bento.conclave.channel_guest import GuestChannel
from bento.errors import RemoteProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_WRITE = 256 * 1024  # bytes of the function's encrypted at once, to bound what waits


class GuestSocket:
    """`sock` is the real one, non-blocking. `ask` is called with 64 bytes to get evidence about, which
    is handed to `answer`, at once or later.
    """

    def __init__(self, sock: Any, channel: GuestChannel, ask: Callable[[bytes], None]) -> None:
        self._sock, self._channel, self._ask = sock, channel, ask
        self._waiting = b""
        self._asked = self._finished = False

    @property
    def pending(self) -> int:
        """Bytes that wait for the real socket to become writable."""
        return len(self._waiting)

    @property
    def exporter(self) -> bytes:
        """A value of this very channel that only its two ends know."""
        return self._channel.exporter

    def fileno(self) -> int:
        number: int = self._sock.fileno()
        return number

    def recv(self, size: int) -> bytes:
        """All data of the client's that is there; b"" at its announced end.

        `size` bounds what is read from the real socket; the data can be longer by one frame. None is
        kept back, since the real socket would not wake the loop for it.
        Raises BlockingIOError when there is none yet, RemoteProtocolError when the connection is
        cut or breaks the protocol, OSError.
        """
        if self._channel.closed:
            return b""
        wire = self._sock.recv(size)
        if not wire:
            raise RemoteProtocolError("the client's connection was cut")
        data = b"".join(self._channel.receive(wire))
        if self._channel.wanted is not None and not self._asked:
            self._asked = True
            self._ask(self._channel.wanted)
        self.flush()
        if not data and not self._channel.closed:
            raise BlockingIOError
        return data

    def answer(self, evidence: bytes) -> None:
        """Evidence (a container) about what `ask` was called with."""
        self._channel.provide(evidence)
        self.flush()

    def send(self, data: bytes | memoryview) -> int:
        """Take data for the client; how many bytes.

        Raises BlockingIOError while earlier bytes still wait, OSError.
        """
        self.flush()
        if self._waiting:
            raise BlockingIOError
        taken = bytes(data[:_WRITE])
        self._channel.send(taken)
        self.flush()
        return len(taken)

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:
        """`send` for several pieces at once."""
        taken, room = [], _WRITE
        for piece in buffers:
            taken.append(piece[:room])
            room -= len(taken[-1])
            if not room:
                break
        return self.send(b"".join(taken))

    def flush(self) -> None:
        """Give the real socket what it takes now. Raises OSError."""
        self._waiting += self._channel.outgoing()
        try:
            while self._waiting:
                self._waiting = self._waiting[self._sock.send(self._waiting) :]
        except BlockingIOError:
            return
        if self._finished:
            self._sock.shutdown(1)

    def shutdown(self, _how: int) -> None:
        """Announce the end to the client; the real socket is shut down once all is written."""
        if not self._finished:
            self._channel.finish()
            self._finished = True
            self.flush()

    def close(self) -> None:
        self._sock.close()
