"""Adds delay to links: stands at the port that a relay advertises and forwards to the real one.

`python -m bento.testnet.forwarder --delay-ms D --ready FILE LISTEN=TARGET...`

Each chunk leaves `D` milliseconds after it came, in each direction, in order. Nothing is lost
and the rate is not limited (but for a bound on what is under way). A process of its own, so that
the work for many links does not slow what supervises the network. It serves loopback addresses
only, and reaches the target from the address that the peer came from: a relay recognises another
relay by its address.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from bento.testnet.layout import require_loopback

MOST_IN_FLIGHT = 8 << 20
"""Bytes of one direction of one link. 8 MiB in 50 ms are 160 MiB/s, more than two cores forward."""

_CONNECT_LIMIT = 10.0  # seconds; a connection on loopback takes or refuses at once


class Link(asyncio.Protocol):
    """One end of a link: what it receives goes to its `other` end, later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._in_flight = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._paused = False
        self.other: Link | None = None
        self.transport: asyncio.Transport | None = None

    def join(self, other: Link) -> None:
        """Make the two ends one link."""
        self.other, other.other = other, self
        self._arm()
        other._arm()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._add(data)
        self._in_flight += len(data)
        if self._in_flight > MOST_IN_FLIGHT and not self._paused and self.transport:
            self._paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        # What is already under way still arrives, as it would on a wire.
        self._add(None)

    def pause_writing(self) -> None:
        if self.other:
            self.other._held = True

    def resume_writing(self) -> None:
        if self.other:
            self.other._held = False
            self.other._arm()

    def _add(self, item: bytes | None) -> None:
        self._queue.append((self._loop.time() + self._delay, item))
        if len(self._queue) == 1:
            self._arm()

    def _arm(self) -> None:
        if self._queue and not self._held and self.other and self._timer is None:
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        assert self.other is not None and self.other.transport is not None
        target, now = self.other.transport, self._loop.time()
        while self._queue and self._queue[0][0] <= now and not self._held:
            _, item = self._queue.popleft()
            if item is None:
                target.close()
            else:
                self._in_flight -= len(item)
                target.write(item)
        self._resume_reading()
        self._arm()

    def _resume_reading(self) -> None:
        if self._paused and self._in_flight <= MOST_IN_FLIGHT // 2 and self.transport:
            self._paused = False
            self.transport.resume_reading()


class Forwarder:
    """Listens at one address and links every connection with one to the target."""

    def __init__(self, delay: float, target: tuple[str, int]) -> None:
        self._delay = delay
        self._target = target
        self._connecting: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Start to serve; raises OSError if the address is taken."""
        require_loopback((host, self._target[0]))
        return await asyncio.get_running_loop().create_server(self._accept, host, port)

    def _accept(self) -> Link:
        return _Near(self._delay, self)

    def connect(self, near: Link) -> None:
        task = asyncio.ensure_future(self._connect(near))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, near: Link) -> None:
        assert near.transport is not None
        source = near.transport.get_extra_info("peername")[0]
        try:
            async with asyncio.timeout(_CONNECT_LIMIT):
                _, far = await asyncio.get_running_loop().create_connection(
                    lambda: Link(self._delay), *self._target, local_addr=(source, 0)
                )
        except (OSError, TimeoutError):
            near.transport.abort()
            return
        near.join(far)


class _Near(Link):
    """The end that a peer connected to."""

    def __init__(self, delay: float, forwarder: Forwarder) -> None:
        super().__init__(delay)
        self._forwarder = forwarder

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._forwarder.connect(self)


async def serve(delay: float, routes: Sequence[str], ready: Path) -> None:
    """Forward `HOST:PORT=HOST:PORT` routes until SIGINT or SIGTERM; make `ready` once all listen."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as servers:
        for route in routes:
            listen, _, target = route.partition("=")
            server = await Forwarder(delay, _address(target)).listen(*_address(listen))
            await servers.enter_async_context(server)
        ready.touch()
        await stop.wait()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bento.testnet.forwarder")
    parser.add_argument("--delay-ms", type=float, required=True)
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("routes", nargs="+", metavar="LISTEN=TARGET")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.delay_ms / 1000, arguments.routes, arguments.ready))


if __name__ == "__main__":
    main()
