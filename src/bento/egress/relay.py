"""Moving bytes between two connected sockets, both ways, with back-pressure.

The kernel moves them, by splice(2) through one pipe for every connection of a thread: what the
receiver does not take at once is the only thing copied out of it, and nothing more is read until it
has gone. So an idle connection costs no buffer and a slow reader holds at most one. An end of stream
passes on as an end of stream (half-close); an error passes on as a reset.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Protocol

from bento.egress.limits import RELAY_BUFFER

_LINGER_RESET = struct.pack("ii", 1, 0)
_local = threading.local()


class ByteGate(Protocol):
    """Who says how many bytes may pass: the proxy, for its whole instance."""

    def allowance(self) -> int:
        """Bytes that may be read now; 0 means the caller will be resumed later."""

    def wait(self, resume: Callable[[], None]) -> None:
        """Call `resume` when there may be an allowance again."""

    def passed(self, count: int, outwards: bool) -> None:
        """`count` bytes were read."""


class _Pipe:
    """Empty between two uses, so that connections may share it."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Twice the buffer: it counts pages, and pieces of a stream do not fill theirs.
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, 2 * RELAY_BUFFER)

    def __del__(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def _shared_pipe() -> _Pipe:
    pipe: _Pipe | None = getattr(_local, "pipe", None)
    if pipe is None:
        pipe = _local.pipe = _Pipe()
    return pipe


class Relay:
    """Two non-blocking sockets glued together until both directions ended, an error, `abort`,
    or `idle_seconds` without a byte. `done` is then called once; both sockets are closed."""

    def __init__(
        self,
        inner: socket.socket,
        outer: socket.socket,
        gate: ByteGate,
        *,
        idle_seconds: float,
        early: bytes,
        done: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.gate = gate
        self.active_at = self.loop.time()
        self._sockets = (inner, outer)
        self._numbers = inner.fileno(), outer.fileno()  # what the loop looks up fastest
        self._idle_seconds = idle_seconds
        self._done: Callable[[], None] | None = done
        self._timer = self.loop.call_later(idle_seconds, self._check_idle)
        self._ways = (
            _Way(self, inner, outer, outwards=True),
            _Way(self, outer, inner, outwards=False),
        )
        if early:
            gate.passed(len(early), True)
        for way, first in zip(self._ways, (early, b""), strict=True):
            way.start(first)

    def way_ended(self) -> None:
        if all(way.ended for way in self._ways):
            self._finish()

    def abort(self) -> None:
        """Reset both sides: something is wrong, and neither may take it for a proper end."""
        for sock in self._sockets:
            if sock.fileno() != -1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._finish()

    def _finish(self) -> None:
        if self._done is None:
            return
        self._timer.cancel()
        for number in self._numbers:
            self.loop.remove_reader(number)
            self.loop.remove_writer(number)
        for way in self._ways:
            way.ended = True
        for sock in self._sockets:
            sock.close()
        done, self._done = self._done, None
        done()

    def _check_idle(self) -> None:
        left = self.active_at + self._idle_seconds - self.loop.time()
        if left <= 0:
            self.abort()
        else:
            self._timer = self.loop.call_later(left, self._check_idle)


class _Way:
    """One direction."""

    def __init__(
        self, relay: Relay, source: socket.socket, sink: socket.socket, *, outwards: bool
    ) -> None:
        self.ended = False
        self._relay = relay
        self._source = source.fileno()
        self._sink = sink
        self._outwards = outwards
        self._pending = memoryview(b"")
        self._pipe = _shared_pipe()

    def start(self, first: bytes) -> None:
        if first:
            self._send(memoryview(first))
        if not self._pending:
            self._listen()

    def _listen(self) -> None:
        if not self.ended:
            self._relay.loop.add_reader(self._source, self._readable)

    def _readable(self) -> None:
        relay, pipe = self._relay, self._pipe
        allowance = relay.gate.allowance()
        if allowance <= 0:
            relay.loop.remove_reader(self._source)
            relay.gate.wait(self._listen)
            return
        try:
            count = os.splice(self._source, pipe.write_end, min(allowance, RELAY_BUFFER))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            relay.abort()
            return
        if not count:
            self._source_ended()
            return
        relay.active_at = relay.loop.time()
        relay.gate.passed(count, self._outwards)
        self._pass_on(count)

    def _pass_on(self, count: int) -> None:
        """`count` bytes from the pipe to the sink; what it does not take is kept."""
        left, pipe = count, self._pipe
        failed = False
        try:
            while left:
                left -= os.splice(pipe.read_end, self._sink.fileno(), left)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            failed = True
        rest = b""
        while left:  # also after an error: the pipe is everybody's
            rest += (piece := os.read(pipe.read_end, left))
            left -= len(piece)
        if failed:
            self._relay.abort()
        elif rest:
            self._keep(memoryview(rest))

    def _send(self, data: memoryview) -> None:
        try:
            sent = self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._relay.abort()
            return
        if sent < len(data):
            self._keep(data[sent:])

    def _keep(self, data: memoryview) -> None:
        """Reading stops until it has gone."""
        self._pending = data
        self._relay.loop.remove_reader(self._source)
        self._relay.loop.add_writer(self._sink.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            sent = self._sink.send(self._pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._relay.abort()
            return
        self._relay.active_at = self._relay.loop.time()
        self._pending = self._pending[sent:]
        if not self._pending:
            self._relay.loop.remove_writer(self._sink.fileno())
            self._listen()

    def _source_ended(self) -> None:
        self.ended = True
        self._relay.loop.remove_reader(self._source)
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._relay.abort()
            return
        self._relay.way_ended()
