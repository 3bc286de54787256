"""Connections for a sandbox whose sockets cannot leave it (gVisor): brought in, one by one.

Outside, the box sees what it always sees: a socket path to connect to, and a listener that accepts
what the function dials. In between runs one unix stream, the carrier, whose other end `ferry` holds
inside. A connection is itself what travels, by SCM_RIGHTS: no byte of it passes here.

    G          outwards in   the gate is open
    A + socket outwards in   somebody connected to the socket path
    E          inwards out   the function connected to its egress listener
    E + socket outwards in   the answer: a connection to the box's proxy;   X  there is none

The inside may be hostile: it is only ever read for E, each of which is one connection to the proxy,
which counts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

_BACKLOG = 64
_REQUESTS = 16  # taken in one turn, so that a flood cannot hold the loop


class Carrier:
    """`theirs` is inherited by the sandbox; `open` once the box's socket has a name."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._ours.setblocking(False)
        self._way_in: socket.socket | None = None
        self._path: Path | None = None

    def open(self, path: Path, way_in: socket.socket) -> socket.socket:
        """Begins; the listener on which the box's proxy accepts, which the box closes. Closes
        `way_in` when it ends."""
        self.theirs.close()
        self._path = path.with_suffix(".egress")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(self._path))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        way_in.setblocking(False)
        self._way_in = way_in
        loop = asyncio.get_running_loop()
        loop.add_reader(way_in, self._arrived)
        loop.add_reader(self._ours, self._asked)
        self._send(b"G")
        return listener

    def close(self) -> None:
        """No more connections; the inside ends when it sees this. Idempotent."""
        if self._way_in is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._way_in)
            loop.remove_reader(self._ours)
            self._way_in.close()
            self._way_in = None
        self.theirs.close()
        self._ours.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _arrived(self) -> None:
        assert self._way_in is not None
        with contextlib.suppress(OSError):
            connection, _ = self._way_in.accept()
            with connection:
                self._send(b"A", connection)

    def _asked(self) -> None:
        try:
            requests = self._ours.recv(_REQUESTS)
        except BlockingIOError:
            return
        except OSError:
            requests = b""
        if not requests:
            self.close()
        for _ in requests:
            self._dial()

    def _dial(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            try:
                connection.connect(os.fspath(self._path or ""))
            except OSError:  # the proxy's queue is full, or it has closed
                self._send(b"X")
            else:
                self._send(b"E", connection)

    def _send(self, what: bytes, connection: socket.socket | None = None) -> None:
        # An inside that does not take its connections loses them.
        with contextlib.suppress(OSError):
            socket.send_fds(self._ours, [what], [connection.fileno()] if connection else [])
