"""The streams of visitors at one replica: each is answered from files, or connected to the origin.

A visitor is active while a stream of its circuit is open or its first is about to come, and lingers for a
while after: a browser opens the next stream after a pause. Those who are active are a replica's load;
for those who linger it only stays, so that one that is told to leave hurts nobody who reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from bento.errors import RemoteProtocolError, TorError
from bento.functions.balancer import http
from bento.functions.balancer.site import Files, Origin, Site
from bento.onion.circuit import Circuit
from bento.onion.stream import IncomingStream, Stream

PORT = 80
"""The port of the service."""

LINGER = 5.0
"""Seconds after its last stream for which a visitor lingers."""

FIRST_STREAM = 15.0
"""The same for one that joined and has opened none."""

EXPECTED = 3.0
"""Seconds for which one that joined counts as active without a stream: a tor opens its first at once, and
one that was kept waiting may have come twice, to use one of its circuits."""

_PIECE = 64 * 1024
_LOOK_SECONDS = 0.25


class Dial(Protocol):
    """A connection to the origin; OSError when there is none."""

    def __call__(
        self, host: str, port: int
    ) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]: ...


class Traffic(NamedTuple):
    """Bytes, and how many visitors they were for."""

    sent: int = 0
    visitors: int = 0

    def plus(self, other: Traffic) -> Traffic:
        return Traffic(self.sent + other.sent, self.visitors + other.visitors)


class Visitors:
    """Everybody who joined this replica. `clock` in seconds."""

    def __init__(self, site: Site, clock: Callable[[], float], dial: Dial) -> None:
        self.joined = 0
        self._site = site
        self._clock = clock
        self._dial = dial
        self._present: dict[Circuit, _Visitor] = {}
        self._unseen = Traffic()
        self.eased = asyncio.Event()
        """Set when somebody's last stream has ended, or their circuit."""

    def expect(self) -> _Visitor:
        """A visitor on its way; its streams may come before `arrived` is called."""
        return _Visitor(self._site, self._clock, self._dial, self.eased.set)

    def arrived(self, visitor: _Visitor, circuit: Circuit) -> None:
        self.joined += 1
        self._present[circuit] = visitor
        circuit.closed.add_done_callback(lambda _: self._gone(circuit))

    @property
    def active(self) -> int:
        """Visitors with an open stream, or about to have their first."""
        now = self._clock()
        return sum(visitor.is_active(now) for visitor in self._present.values())

    @property
    def lingering(self) -> int:
        """Others, whose last stream ended so lately that more may come."""
        now = self._clock()
        return sum(visitor.lingers(now) for visitor in self._present.values())

    @property
    def present(self) -> int:
        """Visitors whose circuit stands."""
        return len(self._present)

    def traffic(self) -> Traffic:
        """What was sent since the last look."""
        seen, self._unseen = self._unseen, Traffic()
        for visitor in self._present.values():
            seen = seen.plus(visitor.traffic())
        return seen

    async def left(self) -> None:
        """Until nobody is active or lingers."""
        while self.active or self.lingering:  # noqa: ASYNC110 - some only grow old
            await asyncio.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Ends all circuits, and with them all streams."""
        for circuit in tuple(self._present):
            circuit.close()

    def _gone(self, circuit: Circuit) -> None:
        visitor = self._present.pop(circuit, None)
        if visitor is not None:
            self._unseen = self._unseen.plus(visitor.traffic())
            visitor.cut()
            self.eased.set()


class _Visitor:
    def __init__(
        self, site: Site, clock: Callable[[], float], dial: Dial, eased: Callable[[], None]
    ) -> None:
        self._site = site
        self._clock = clock
        self._dial = dial
        self._eased = eased
        self._expected_until = clock() + EXPECTED
        self._until = clock() + FIRST_STREAM
        self._streams: dict[asyncio.Task[None], Stream] = {}
        self._sent = self._seen = 0

    def is_active(self, now: float) -> bool:
        return bool(self._streams) or now < self._expected_until

    def lingers(self, now: float) -> bool:
        return not self.is_active(now) and now < self._until

    def traffic(self) -> Traffic:
        """Since the last look."""
        total = self._sent + sum(stream.bytes_written for stream in self._streams.values())
        fresh, self._seen = total - self._seen, total
        return Traffic(fresh, int(fresh > 0))

    def __call__(self, incoming: IncomingStream) -> None:
        """A stream begins."""
        if incoming.begin.port != PORT:
            incoming.refuse()
            return
        stream = incoming.accept()
        task = asyncio.ensure_future(self._serve(stream))
        self._streams[task] = stream
        self._expected_until = 0.0
        task.add_done_callback(self._ended)

    def cut(self) -> None:
        for task in self._streams:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sent += self._streams.pop(task).bytes_written
        self._until = self._clock() + LINGER
        if not self._streams:
            self._eased()
        if not task.cancelled():
            task.exception()  # a visitor's fault, or the network's: it ends the stream, that is all

    async def _serve(self, stream: Stream) -> None:
        try:
            if isinstance(self._site, Files):
                await show(stream, self._site)
            else:
                await connect(stream, self._site, self._dial)
        except (TorError, RemoteProtocolError):
            pass  # the visitor is gone
        finally:
            stream.close()


async def show(stream: Stream, files: Files) -> None:
    """Requests and answers until one side has enough."""
    held = b""
    keep = True
    while keep:
        while http.END not in held and len(held) <= http.MAX_HEAD:
            if not (more := await stream.read()):
                return
            held += more
        head, end, held = held.partition(http.END)
        said = http.answer(head, files) if end and len(head) <= http.MAX_HEAD else http.too_long()
        await _write(stream, said.head, said.body)
        keep = said.keep


async def _write(stream: Stream, head: bytes, body: memoryview) -> None:
    """A short answer leaves in one go."""
    first = len(head) + len(body) <= _PIECE
    await stream.write(head + bytes(body) if first else head)
    for at in range(0, 0 if first else len(body), _PIECE):
        await stream.write(bytes(body[at : at + _PIECE]))


async def connect(stream: Stream, origin: Origin, dial: Dial) -> None:
    """Bytes both ways until one end is done: a stream of Tor's cannot be closed by half."""
    try:
        reader, writer = await dial(origin.host, origin.port)
    except OSError:
        return
    ways = [
        asyncio.ensure_future(_up(stream, writer)),
        asyncio.ensure_future(_down(stream, reader)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()


async def _up(stream: Stream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()


async def _down(stream: Stream, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_PIECE):
        await stream.write(data)
