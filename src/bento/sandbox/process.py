"""A process held by its pidfd: never mistaken for another that got its number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path


class Process:
    """`exited` is done once the process is gone: for a pid namespace's first process that is when
    every process in the namespace is gone.

    Opens a pidfd unless it is given one, which is then its own.
    Raises ProcessLookupError if `pid` is gone already.
    """

    def __init__(self, pid: int, descriptor: int | None = None) -> None:
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.pidfd_open(pid) if descriptor is None else descriptor
        self.exited: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._on_exit)

    def kill(self) -> None:
        """SIGKILL, which the kernel passes on to the whole pid namespace of a first process."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def end(self) -> None:
        """Kills, and returns once it is gone."""
        self.kill()
        await self.exited

    def forget(self) -> None:
        """Stop watching; the process is left alone."""
        if not self.exited.done():
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.exited.cancel()

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        if not self.exited.done():
            self.exited.set_result(None)


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot: with the pid it names one process for ever.

    Raises ProcessLookupError if there is no such process.
    """
    return int(_stat(pid)[19])


def parent(pid: int) -> int:
    """The parent of `pid`. Raises ProcessLookupError if there is no such process."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the third on (proc(5)); the second may hold anything."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    return line.rpartition(b")")[2].split()
