"""Keeps one process running: a dead one is started again at once.

Invariant: from `start` to `stop` there is either a running process or one being started; after
`stop` there is none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from bento.errors import BentoError

_log = logging.getLogger(__name__)

_BRIEF = 5.0
"""Seconds. A process that ended by itself after less is thought to do so again."""
_PAUSE = 0.5
"""Seconds before such a one is started again. One that was killed is started at once."""


class Child(Protocol):
    """What can be kept: `TorProcess` and `Program`."""

    name: str
    exited: asyncio.Future[int]

    @property
    def pid(self) -> int: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def failure(self) -> BentoError: ...


_Kept = TypeVar("_Kept", bound=Child)


class Keeper(Generic[_Kept]):
    """Runs what `make` makes, again and again. `on_start(name, pid)` hears of each process."""

    def __init__(self, make: Callable[[], _Kept], on_start: Callable[[str, int], None]) -> None:
        self._make = make
        self._on_start = on_start
        self._child: _Kept | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def child(self) -> _Kept | None:
        """The process if it runs and is ready, else None."""
        return self._child

    @property
    def pid(self) -> int | None:
        """Its id, while it runs and is ready."""
        return self._child.pid if self._child else None

    async def start(self) -> _Kept:
        """Start it for the first time. Raises what its start raises."""
        child = await self._start_one()
        self._task = asyncio.create_task(self._keep(child), name=f"keep {child.name}")
        return child

    async def stop(self) -> None:
        """End the process for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._child is not None:
            child, self._child = self._child, None
            await child.stop()

    async def _start_one(self) -> _Kept:
        child = self._make()
        try:
            await child.start()
        except BaseException:
            await child.stop()
            raise
        self._child = child
        self._on_start(child.name, child.pid)
        return child

    async def _keep(self, child: _Kept) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await asyncio.wait([child.exited])  # a plain await would cancel it with us
            self._child = None
            _log.warning("%s; starting it again", child.failure().detail)
            if child.exited.result() >= 0 and loop.time() - started < _BRIEF:
                await asyncio.sleep(_PAUSE)
            child = await self._start_until_it_works()

    async def _start_until_it_works(self) -> _Kept:
        while True:
            try:
                return await self._start_one()
            except BentoError as error:
                _log.warning("%s", error.detail)
                await asyncio.sleep(_PAUSE)
