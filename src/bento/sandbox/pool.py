"""Sandboxes made ahead: taking one costs about 1 ms instead of a start.

A pool holds single-use sandboxes of one image, ready and empty: nothing of any user has been in
them. Behind them stands one empty jail, so that taking from an empty pool costs little more than
starting Python. It refills behind whoever takes. What died meanwhile is replaced, never handed out.
Closing the pool ends what it still holds; what it handed out belongs to its takers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from pathlib import Path

from bento.errors import HostError, UsageError
from bento.sandbox import priority
from bento.sandbox.images import Image
from bento.sandbox.jail import Jail
from bento.sandbox.limits import Limits
from bento.sandbox.runtimes import BUBBLEWRAP, Runtime
from bento.sandbox.sandbox import Sandbox, can_become

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
        runtime: Runtime = BUBBLEWRAP,
    ) -> None:
        self.image = image
        self.runtime = runtime
        self.size = size
        self.failure: HostError | None = None  # why the last refill failed
        self._limits = limits or image.limits
        self._run_dir = run_dir
        self._blob = guest_blob
        self._ready: deque[Sandbox] = deque()
        self._spare: Jail | None = None
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
        """Returns once everything waits that should. Raises HostError if it cannot be made."""
        self.start()
        while not self._filled.is_set():
            if self.failure:
                raise self.failure
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), 0.05)

    async def take(self, limits: Limits | None = None, leave: int = 0) -> Sandbox:
        """A ready sandbox with `limits` (the pool's own if None), started now if none waits that
        can have them, or no more than the `leave` that are to wait on for somebody else.

        Raises HostError if the machine cannot start one, UsageError once the pool is closed.
        """
        if self._closed:
            raise UsageError("the pool is closed")
        priority.hurry()
        limits = limits or self._limits
        sandbox = self._waiting(limits, leave) or await self._from_spare(limits)
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
        """Ends what still waits; returns when nothing is left of it."""
        self._closed = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*map(discard, self._ready))
        self._ready.clear()
        if self._spare:
            await self._spare.demolish()
            self._spare = None

    def _waiting(self, limits: Limits, leave: int) -> Sandbox | None:
        """The oldest live sandbox that can have `limits`, no longer in the pool; with no more than
        `leave` of them there, none."""
        if len(self._ready) <= leave:
            return None
        for sandbox in tuple(self._ready):
            if sandbox.alive and sandbox.can_take(limits):
                self._remove(sandbox)
                return sandbox
        return None

    async def _from_spare(self, limits: Limits) -> Sandbox | None:
        jail = self._spare
        if jail is None or not can_become(self._limits, limits, self.runtime):
            return None
        self._spare = None
        self._want()
        try:
            return await self._enter(jail)
        except HostError:  # it died waiting
            return None

    def _remove(self, sandbox: Sandbox) -> None:
        with contextlib.suppress(ValueError):  # it was taken since
            self._ready.remove(sandbox)
            self._want()

    def _want(self) -> None:
        self._filled.clear()
        self._wanted.set()

    async def _refill(self) -> None:
        pause = _RETRY[0]
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while not self._is_full():
                await asyncio.sleep(_YIELD)
                try:
                    await self._add_one()
                    self.failure, pause = None, _RETRY[0]
                except HostError as error:
                    self.failure = error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _RETRY[1])
            self._filled.set()

    def _is_full(self) -> bool:
        return self._spare is not None and self._spare.alive and len(self._ready) >= self.size

    async def _add_one(self) -> None:
        """A sandbox out of the spare jail; or, if there is none, a spare jail."""
        jail, self._spare = self._spare, None
        if jail is None or not jail.alive:
            if jail:
                await jail.demolish()
            self._spare = await Jail.build(self.image, self._limits, self._run_dir, self.runtime)
            return
        sandbox = await self._enter(jail)
        self._ready.append(sandbox)
        sandbox.exited.add_done_callback(lambda _: self._lost(sandbox))

    def _lost(self, sandbox: Sandbox) -> None:
        if sandbox in self._ready:
            self._remove(sandbox)
            sandbox.close()

    async def _enter(self, jail: Jail) -> Sandbox:
        return await jail.enter(secrets.token_hex(8), self._blob)

    async def _spawn(self, limits: Limits) -> Sandbox:
        name = secrets.token_hex(8)
        return await Jail.build_and_enter(
            self.image, limits, self._run_dir, name, self._blob, self.runtime
        )


async def discard(sandbox: Sandbox) -> None:
    """Ends a sandbox that nobody used."""
    await sandbox.kill()
    sandbox.close()
