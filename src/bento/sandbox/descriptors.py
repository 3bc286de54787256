"""Small things with file descriptors that bubblewrap and the guest are given."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_DESCRIPTOR = struct.Struct("i")
_TAIL = 2000  # bytes in which the last line is looked for


class MemoryFile:
    """A file in memory. Once sealed, at the latest at the end of its `with`, nobody can change it,
    inside or outside."""

    def __init__(self, content: bytes = b"") -> None:
        self.descriptor = os.memfd_create("bento", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        if content:
            self.write(content)
            self.seal()

    def __enter__(self) -> MemoryFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.seal()
        os.close(self.descriptor)

    def write(self, content: bytes) -> None:
        """The whole content; a reader that shares the descriptor begins at its start."""
        os.pwrite(self.descriptor, content, 0)

    def seal(self) -> None:
        with contextlib.suppress(PermissionError):  # it is already
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)

    @property
    def last_line(self) -> str:
        """Of what was written, the last words."""
        size = os.fstat(self.descriptor).st_size
        text = os.pread(self.descriptor, _TAIL, max(0, size - _TAIL)).decode(errors="replace")
        return (text.strip().splitlines() or [""])[-1]


class Pipe:
    """A pipe whose ends are closed at the latest at the end of its `with`."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_reader()
        self.close_writer()

    def close_reader(self) -> None:
        self._close(self.reader)

    def close_writer(self) -> None:
        self._close(self.writer)

    def _close(self, end: int) -> None:
        if end in self._open:
            self._open.remove(end)
            os.close(end)


def receive(source: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """(message, descriptors): at most `size` bytes and `most` descriptors, none of them inheritable.

    (`socket.recv_fds` of Python 3.11 drops the flag that sees to the latter.)
    """
    space = socket.CMSG_SPACE(most * _DESCRIPTOR.size)
    message, ancillary, _, _ = source.recvmsg(size, space, socket.MSG_CMSG_CLOEXEC)
    rights = (data for _, kind, data in ancillary if kind == socket.SCM_RIGHTS)
    return message, [number for data in rights for (number,) in _whole(data)]


def _whole(data: bytes) -> Iterator[tuple[int]]:
    return _DESCRIPTOR.iter_unpack(data[: len(data) // _DESCRIPTOR.size * _DESCRIPTOR.size])


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
