"""Small things with file descriptors that bubblewrap and the guest are given."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TAIL = 2000  # bytes of a diagnosis that are worth showing


@contextlib.contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    """A file in memory that holds `data` and that nobody, inside or outside, can change."""
    descriptor = os.memfd_create("bento", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        yield descriptor
    finally:
        os.close(descriptor)


class Pipe:
    """A pipe whose ends are closed at the latest at the end of its `with`."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._open.copy():
            self._close(end)

    def close_reader(self) -> None:
        self._close(self.reader)

    def close_writer(self) -> None:
        self._close(self.writer)

    def _close(self, end: int) -> None:
        self._open.remove(end)
        os.close(end)


class Diagnosis:
    """The standard error of a start: a file in memory, so that nobody must read it for it not to
    block. Sealed once the start is over: from then on the sandbox can write no more to it."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("bento", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def last_line(self) -> str:
        size = os.fstat(self.descriptor).st_size
        text = os.pread(self.descriptor, _TAIL, max(0, size - _TAIL)).decode(errors="replace")
        return (text.strip().splitlines() or [""])[-1]

    def close(self) -> None:
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        os.close(self.descriptor)


async def readable(descriptor: int) -> None:
    """Returns once there is something to read, or the end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def read_all(descriptor: int, limit: int) -> bytes:
    """What comes until the end, at most about `limit` bytes."""
    data = b""
    while len(data) < limit:
        await readable(descriptor)
        part = os.read(descriptor, limit)
        if not part:
            break
        data += part
    return data
