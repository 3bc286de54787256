"""The front's end of one replica: messages out in order, messages in, an end that is noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from bento.errors import BentoError
from bento.functions.balancer import messages
from bento.functions.balancer.fleet import SILENCE
from bento.functions.balancer.messages import Frames, Leave, Left, Message, Ping, Ready, Serve

if TYPE_CHECKING:
    from bento.functions.balancer.replica import Channel

PING_SECONDS = 5.0

GOODBYE_SECONDS = 660.0
"""Longer than a replica's own farewell: then it is ended whatever it says."""

MAX_QUEUE = 4096
"""Messages that wait for a replica that does not read; then it counts as dead."""


class ReplicaLink:
    """Runs until the replica is gone. `on_message` hears all it says; `on_end` is called once."""

    def __init__(
        self,
        channel: Channel,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._on_message = on_message
        self._on_end = on_end
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUE)
        self.ready = asyncio.Event()
        """Set when it serves, and when it never will."""
        self.heard = asyncio.get_running_loop().time()
        """When it last said anything."""
        self._enough = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def serve(self, kind: int, content: bytes, increment: int | None) -> None:
        """The first word, and the content behind it."""
        self.say(Serve(kind, increment or 0, len(content)))
        for frame in messages.content_frames(content):
            self._put(frame)

    def say(self, message: Message) -> None:
        """Returns at once; a replica that does not read is ended."""
        self._put(messages.encode(message))

    @property
    def is_silent(self) -> bool:
        """It counts as dead."""
        return asyncio.get_running_loop().time() - self.heard > SILENCE

    async def leave(self) -> None:
        """Tells it to end and waits until it has; nobody is cut. A silent one is ended at once."""
        if self.is_silent:
            await self.close()
            return
        self.say(Leave())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await asyncio.shield(self._task)
        await self.close()

    async def close(self) -> None:
        """Ends it now."""
        self._enough.set()
        await asyncio.shield(self._task)

    def _put(self, frame: bytes) -> None:
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._enough.set()

    async def _run(self) -> None:
        work = (self._hear(), self._tell(), self._ping(), self._enough.wait())
        jobs = [asyncio.ensure_future(job) for job in work]
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            self.ready.set()
            with contextlib.suppress(OSError, BentoError):
                await self._channel.close()
            self._on_end()

    async def _hear(self) -> None:
        frames = Frames(messages.TO_FRONT)
        with contextlib.suppress(OSError, BentoError):  # of any kind: it is of no use any more
            while data := await self._channel.read():
                self.heard = asyncio.get_running_loop().time()
                for message in frames.feed(data):
                    if isinstance(message, Left):
                        return
                    if isinstance(message, Ready):
                        self.ready.set()
                    self._on_message(message)

    async def _tell(self) -> None:
        with contextlib.suppress(OSError, BentoError):
            while True:
                await self._channel.write(await self._queue.get())

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            self.say(Ping())
