"""One replica: joins the visitors its front hands over and serves them; holds no key of the service.

    Serve, Content  ->  Ready
    Join            ->  Joined | Failed        one task each
    each second, and when somebody's last stream ends  ->  Report
    Leave           ->  Left, once nobody is active
    nothing heard for LEASE seconds, or the channel ends  ->  the same, without a word

After the end of its front nobody new can come, and those who are here are served to their end, for
`FAREWELL` seconds at most.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from bento.errors import BentoError, RemoteProtocolError
from bento.functions.balancer import messages, site
from bento.functions.balancer.fleet import Load
from bento.functions.balancer.messages import (
    Content,
    Failed,
    Frames,
    Join,
    Joined,
    Leave,
    Left,
    Message,
    Ping,
    Ready,
    Report,
    Serve,
)
from bento.functions.balancer.serving import Dial, Visitors
from bento.onion import handover
from bento.onion.network import Network
from bento.onion.rendezvous import join

REPORT_SECONDS = 1.0

BETWEEN_REPORTS = 0.1
"""Seconds at least: ends of many streams come in one."""

LEASE = 30.0
"""Seconds of silence after which the front counts as gone; it says Ping each five."""

FAREWELL = 600.0
"""Seconds for which those who are served may stay when the front has gone."""

MAX_JOINING = 256
"""Visitors on their way at once: each is a circuit being built."""


class Channel(Protocol):
    """The way to the other half. `read` gives b"" at its end; OSError or BentoError when it broke."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


class Replica:
    """`network`: the way to rendezvous points; `dial`: to the origin. Run it once with `run`."""

    def __init__(
        self,
        network: Network,
        channel: Channel,
        *,
        dial: Dial = asyncio.open_connection,
        clock: Callable[[], float] | None = None,
        region: str = "",
    ) -> None:
        self._network = network
        self._channel = channel
        self._dial = dial
        self._clock = clock or asyncio.get_running_loop().time
        self._region = region
        self._frames = Frames(messages.TO_REPLICA)
        self._inbox: list[Message] = []
        self._visitors: Visitors | None = None
        self._increment: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is told to leave, or its front is gone, and nobody is served any more.

        Raises RemoteProtocolError when the front makes no sense."""
        try:
            self._visitors = await self._learn()
            await self._network.directory()
            await self._say(Ready(self._region))
            reporting = asyncio.ensure_future(self._report())
            try:
                await self._obey()
            finally:
                await _end(reporting)
            await self._farewell()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._visitors is not None:
                self._visitors.close()
            await self._channel.close()

    # -- what the front says

    async def _hear(self) -> Message | None:
        """The next message; None when the front is gone."""
        while not self._inbox:
            try:
                async with asyncio.timeout(LEASE):
                    data = await self._channel.read()
            except RemoteProtocolError:
                raise
            except (TimeoutError, OSError, BentoError):
                return None
            if not data:
                return None
            self._inbox = self._frames.feed(data)
        return self._inbox.pop(0)

    async def _learn(self) -> Visitors:
        serve = await self._hear()
        if not isinstance(serve, Serve):
            raise RemoteProtocolError("the front did not say what to serve")
        content = bytearray()
        while len(content) < serve.size:
            piece = await self._hear()
            if isinstance(piece, Ping):
                continue
            if not isinstance(piece, Content) or not piece.data:
                raise RemoteProtocolError("the front did not send the service's content")
            content += piece.data
        if len(content) > serve.size:
            raise RemoteProtocolError("the front sent more than the service's content")
        self._increment = serve.increment or None
        shown = site.parse(serve.kind, bytes(content))
        return Visitors(shown, self._clock, self._dial)

    async def _obey(self) -> None:
        while (message := await self._hear()) is not None:
            if isinstance(message, Leave):
                return
            if isinstance(message, Join):
                self._begin(message)
            elif not isinstance(message, Ping):
                raise RemoteProtocolError("the front said a first word twice")

    # -- visitors

    def _begin(self, message: Join) -> None:
        task = asyncio.ensure_future(self._join(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, message: Join) -> None:
        assert self._visitors is not None
        if len(self._tasks) > MAX_JOINING:
            await self._say(Failed(message.visitor))
            return
        visitor = self._visitors.expect()
        try:
            record = handover.parse(message.record)
            circuit = await join(self._network, record, visitor, sendme_increment=self._increment)
        except BentoError:
            await self._say(Failed(message.visitor))
            return
        self._visitors.arrived(visitor, circuit)
        await self._say(Joined(message.visitor))

    # -- what it says

    async def _say(self, message: Message) -> None:
        """A front that is gone is noticed by the reading side."""
        with contextlib.suppress(OSError, BentoError):
            await self._channel.write(messages.encode(message))

    async def _report(self) -> None:
        """What was sent is measured over whole seconds; who is here is said as soon as they are fewer."""
        visitors = self._visitors
        assert visitors is not None
        since, rate = self._clock(), 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, since + REPORT_SECONDS - self._clock())):
                    await visitors.eased.wait()
            visitors.eased.clear()
            sharing = 0
            if (lasted := self._clock() - since) >= REPORT_SECONDS:
                seen = visitors.traffic()
                since, rate, sharing = since + lasted, seen.sent / lasted, seen.visitors
            load = Load(
                *(visitors.joined, visitors.active, rate),
                lingering=visitors.lingering,
                sharing=sharing,
            )
            await self._say(Report(load))
            await asyncio.sleep(BETWEEN_REPORTS)

    async def _farewell(self) -> None:
        """Nobody new comes; those who are on the way or here are served to their end."""
        assert self._visitors is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await self._visitors.left()
        await self._say(Left())


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
