"""Memory and cpu of a sandbox that no control group limits: watched, and held by signals.

The level "rlimit" only. It looks ten times a second while the sandbox works and once a second while
it idles; between two looks memory is bounded by the rlimits alone. Beyond the memory limit the sandbox
is ended; beyond the cpu limit all its processes are stopped until the average is right again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from bento.sandbox import tree
from bento.sandbox.limits import Limits
from bento.sandbox.process import Process

_BUSY, _IDLE = 0.1, 1.0  # seconds between two looks
_LONGEST_STOP = 2.0  # seconds


class Governor:
    """`limits` may be replaced at any time."""

    def __init__(self, process: Process, limits: Limits) -> None:
        self.limits = limits
        self._process = process
        self._task = asyncio.create_task(self._govern(), name=f"governor of {process.pid}")

    async def close(self) -> None:
        """No more stops and no more looks."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def cancel(self) -> None:
        """`close` without waiting."""
        self._task.cancel()

    async def _govern(self) -> None:
        interval, used, looked = _BUSY, 0.0, time.monotonic()
        debt = 0.0  # seconds of rest that the sandbox owes
        while not self._process.exited.done():
            await asyncio.sleep(interval)
            usage, now = tree.usage(self._process.pid), time.monotonic()
            if usage.memory > self.limits.memory:
                self._process.kill()
                return
            worked, passed = max(0.0, usage.cpu - used), now - looked
            used, looked = usage.cpu, now
            interval = _BUSY if worked else min(2 * interval, _IDLE)
            debt = max(0.0, debt + worked / self.limits.cpu - passed)
            if debt > 0:
                await self._stop(min(debt, _LONGEST_STOP))

    async def _stop(self, seconds: float) -> None:
        try:
            self._signal_all(signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        """To every process, also to those born while we go through them."""
        done: set[int] = set()
        while born := set(tree.descendants(self._process.pid)) - done:
            for pid in born:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            done |= born
