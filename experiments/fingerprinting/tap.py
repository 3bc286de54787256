"""Stands between a tor and its guard, passes every byte on, and notes the cells: the observer's place.

The tor is given the tap as the proxy it reaches relays through (HTTPSProxy); neither side is changed, and
the tap knows no key. Only relays of the network on loopback are reached.
"""

from __future__ import annotations

import asyncio
import re
import time

from bento.errors import TorError, UsageError
from bento.testnet.layout import require_loopback
from experiments.fingerprinting.cells import Cells, Trace

OUT, IN = 1, -1
_CONNECT = re.compile(rb"CONNECT ([0-9.]+):([0-9]+) HTTP/1\.[01]\r\n(?:.+\r\n)*\r\n")
_MOST_REQUEST = 1024  # bytes


class Tap:
    """Listens at a free port of loopback (`port`) and forwards to the relay that is asked for."""

    def __init__(self) -> None:
        self._noted: list[tuple[float, int]] = []
        self._links: list[Cells] = []
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.port = 0
        self.last = time.monotonic()
        """When anything passed last."""

    async def __aenter__(self) -> Tap:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Near(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connecting:
            task.cancel()

    def begin(self) -> float:
        """Forget what was; a visit begins now. Only when nothing is under way."""
        self._noted.clear()
        for link in self._links:
            link.settle()
        return time.monotonic()

    def end(self, began: float) -> Trace:
        """What passed since `began`. Raises TorError if it does not come to whole cells."""
        if any(link.rest for link in self._links):
            raise TorError("what passed the tap does not come to whole cells")
        return Trace([at - began for at, _ in self._noted], [count for _, count in self._noted])

    async def quiet(self, seconds: float, patience: float) -> None:
        """Return when nothing passed for `seconds`, or `patience` is over."""
        until = time.monotonic() + patience
        while (now := time.monotonic()) < until and now - self.last < seconds:
            await asyncio.sleep(max(0.01, min(until - now, seconds - (now - self.last))))

    # -- from the two ends --------------------------------------------------------------------

    def link(self) -> Cells:
        """A new direction of a link."""
        self._links.append(Cells())
        return self._links[-1]

    def note(self, count: int, direction: int) -> None:
        self.last = time.monotonic()
        if count:
            self._noted.append((self.last, direction * count))

    def connect(self, near: _Near, target: tuple[str, int]) -> None:
        try:
            require_loopback([target[0]])
        except UsageError:
            near.abort()
            return
        task = asyncio.ensure_future(self._connect(near, target))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, near: _Near, target: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(lambda: _End(self, IN), *target)
        except OSError:
            near.abort()
            return
        near.join(far)


class _End(asyncio.Protocol):
    """One of the two connections; what it receives goes out at the other."""

    def __init__(self, tap: Tap, direction: int) -> None:
        self._tap = tap
        self._direction = direction
        self._cells = tap.link()
        self._transport: asyncio.Transport | None = None
        self._other: _End | None = None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._tap.note(self._cells.feed(data), self._direction)
        if self._other is not None:
            self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


class _Near(_End):
    """The user's: first it says which relay it wants, as HTTP CONNECT (RFC 9110 section 9.3.6)."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(tap, OUT)
        self._request = bytearray()

    def join(self, far: _End) -> None:
        self._other, far._other = far, self
        self.write(b"HTTP/1.0 200 ok\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            super().data_received(data)
            return
        self._request += data
        found = _CONNECT.match(self._request)
        if found is not None:
            self._tap.connect(self, (found[1].decode(), int(found[2])))
        elif len(self._request) > _MOST_REQUEST:
            self.abort()
