"""A process held by its pidfd: never mistaken for another that got its number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from pathlib import Path

_RUNNING = (b"R", b"S", b"D")  # states in which a process may yet fork, proc(5)


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

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as the kernel has it this moment."""
        if self.exited.done():
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return not poll.poll(0)

    def kill(self) -> None:
        """SIGKILL, which the kernel passes on to the whole pid namespace of a first process."""
        self._send(signal.SIGKILL)

    async def end(self) -> None:
        """Kills, and returns once it is gone."""
        self.kill()
        await self.exited

    async def end_with_children(self) -> None:
        """Kills the process and its children; none can be born meanwhile."""
        self._send(signal.SIGSTOP)
        while not self.exited.done() and _state(self.pid) in _RUNNING:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.001)
        for pid in _children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                await Process(pid).end()
        await self.end()

    def forget(self) -> None:
        """Stop watching; the process is left alone."""
        if not self.exited.done():
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.exited.cancel()

    def _send(self, number: signal.Signals) -> None:
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

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


def runs(pid: int, started: int) -> bool:
    """Whether the process that `pid` and `started` name is there, and not merely unreaped."""
    with contextlib.suppress(ProcessLookupError):
        stat = _stat(pid)
        return int(stat[19]) == started and stat[0] not in (b"Z", b"X")
    return False


def parent(pid: int) -> int:
    """The parent of `pid`. Raises ProcessLookupError if there is no such process."""
    return int(_stat(pid)[1])


def name(pid: int) -> str:
    """The program's name as the kernel has it. Raises ProcessLookupError."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None


def user(pid: int) -> int:
    """The user that a process runs as. Raises ProcessLookupError."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None


def _state(pid: int) -> bytes:
    with contextlib.suppress(ProcessLookupError):
        return _stat(pid)[0]
    return b"X"


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the third on (proc(5)); the second may hold anything."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    return line.rpartition(b")")[2].split()
