"""The guest's end of the way to another box, shaped like the blocking socket it is put over.

One thread may read while others write. Runs in the guest: standard library and the channel only.
"""

from __future__ import annotations

from _thread import allocate_lock

from bento.conclave.box_channel import BoxChannel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_READ = 1 << 18


class BoxSocket:
    """`sock` is connected to a box that is about to begin TLS; `early` came from it already.

    Raises BoxError unless that box has the key with the SHA-256 `key_hash`, RemoteProtocolError, OSError."""

    def __init__(self, sock: Any, key_hash: bytes, early: bytes = b"") -> None:
        self._sock = sock
        self._channel = BoxChannel(key_hash=key_hash)
        self._state = allocate_lock()  # of the channel; held for moments only
        self._writing = allocate_lock()  # so that what is sealed first goes first
        self._ready = b""
        data = early
        while True:
            self._ready += self._channel.receive(data)
            sock.sendall(self._channel.outgoing())
            if self._channel.open:
                return
            data = self._read(_READ)

    def recv(self, size: int) -> bytes:
        """What the other box sent; b"" at its announced end. `size` bounds what is read from the socket.

        Raises ConnectionResetError when it was cut, OSError, RemoteProtocolError."""
        ready, self._ready = self._ready, b""
        while not ready:
            with self._state:
                if self._channel.closed:
                    return b""
            wire = self._read(size)
            with self._state:
                ready = self._channel.receive(wire)
        return ready

    def sendall(self, data: bytes) -> None:
        with self._writing:
            with self._state:
                self._channel.send(data)
                sealed = self._channel.outgoing()
            self._sock.sendall(sealed)

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()

    def _read(self, size: int) -> bytes:
        wire: bytes = self._sock.recv(size)
        if not wire:
            raise ConnectionResetError("the other box hung up")
        return wire
