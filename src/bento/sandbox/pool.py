"""Sandboxes made ahead: taking one costs about 1 ms instead of a start.

A pool holds single-use sandboxes of one image, ready and empty: nothing of any user has been in
them. It refills behind whoever takes. One that died meanwhile is replaced, never handed out.
Closing the pool ends those it still holds; those it handed out belong to their takers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from pathlib import Path

from bento.errors import HostError, UsageError
from bento.sandbox.images import Image
from bento.sandbox.limits import Limits
from bento.sandbox.sandbox import Sandbox
from bento.sandbox.spawn import spawn

_YIELD = 0.02  # seconds a refill waits, so that it does not slow down whoever has just taken
_RETRY = (0.1, 5.0)  # seconds between failed refills: first, and at most


class Pool:
    """`size` ready sandboxes of `image`, started with `limits` (the image's own if None)."""

    def __init__(
        self,
        image: Image,
        size: int,
        *,
        run_dir: Path,
        guest_blob: bytes,
        limits: Limits | None = None,
    ) -> None:
        self.image = image
        self.size = size
        self.failure: HostError | None = None  # why the last refill failed
        self._limits = limits or image.limits
        self._run_dir = run_dir
        self._blob = guest_blob
        self._ready: deque[Sandbox] = deque()
        self._wanted = asyncio.Event()
        self._filled = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> int:
        """How many sandboxes wait."""
        return len(self._ready)

    def start(self) -> None:
        """Begins to fill, in the background."""
        if self._task is None:
            self._wanted.set()
            self._task = asyncio.create_task(self._refill(), name=f"pool {self.image.name}")

    async def full(self) -> None:
        """Returns once `size` sandboxes are ready. Raises HostError if none can be made."""
        self.start()
        while not self._filled.is_set():
            if self.failure:
                raise self.failure
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), 0.05)

    async def take(self, limits: Limits | None = None) -> Sandbox:
        """A ready sandbox with `limits` (the pool's own if None), started now if none waits that
        can have them.

        Raises HostError if the machine cannot start one, UsageError once the pool is closed.
        """
        if self._closed:
            raise UsageError("the pool is closed")
        limits = limits or self._limits
        sandbox = self._waiting(limits)
        if sandbox is None:
            return await self._spawn(limits)
        try:
            if limits != sandbox.limits:
                sandbox.set_limits(limits)
        except HostError:
            await discard(sandbox)
            return await self._spawn(limits)
        return sandbox

    async def close(self) -> None:
        """Ends every sandbox that still waits; returns when nothing is left of them."""
        self._closed = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*map(discard, self._ready))
        self._ready.clear()

    def _waiting(self, limits: Limits) -> Sandbox | None:
        """The oldest live sandbox that can have `limits`, no longer in the pool."""
        for sandbox in tuple(self._ready):
            if sandbox.alive and sandbox.can_take(limits):
                self._remove(sandbox)
                return sandbox
        return None

    def _remove(self, sandbox: Sandbox) -> None:
        with contextlib.suppress(ValueError):  # it was taken since
            self._ready.remove(sandbox)
            self._filled.clear()
            self._wanted.set()

    async def _refill(self) -> None:
        pause = _RETRY[0]
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self._ready) < self.size:
                await asyncio.sleep(_YIELD)
                try:
                    self._add(await self._spawn(self._limits))
                    self.failure, pause = None, _RETRY[0]
                except HostError as error:
                    self.failure = error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _RETRY[1])
            self._filled.set()

    def _add(self, sandbox: Sandbox) -> None:
        self._ready.append(sandbox)
        sandbox.exited.add_done_callback(lambda _: self._lost(sandbox))

    def _lost(self, sandbox: Sandbox) -> None:
        if sandbox in self._ready:
            self._remove(sandbox)
            sandbox.close()

    async def _spawn(self, limits: Limits) -> Sandbox:
        name = secrets.token_hex(8)
        return await spawn(self.image, limits, self._run_dir, name, self._blob)


async def discard(sandbox: Sandbox) -> None:
    """Ends a sandbox that nobody used."""
    await sandbox.kill()
    sandbox.close()
