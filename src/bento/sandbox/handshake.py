"""The control connection: opened by the box, answered by the guest with its egress listener.

A guest may be hostile by the time a restarted box connects again, so what it answers is checked:
one message, as many descriptors as are due, each a listening IPv4 stream socket on 127.0.0.1.
`listeners` asks for others in the same way, later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from bento.errors import HostError
from bento.sandbox.descriptors import readable, receive

CONTROL = b"C"
READY = b"ready"
_MOST_DESCRIPTORS = 8  # taken off the message to be closed; the kernel drops any more
_ANSWER_WITHIN = 10.0  # seconds; a guest of a busy machine needs some milliseconds


def connect(path: Path, greeting: bytes = CONTROL) -> socket.socket:
    """A control connection to the socket at `path`. Raises OSError if nobody holds it."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.setblocking(False)  # before: a guest that accepts nothing must not hold up the box
        control.connect(os.fspath(path))
        control.send(greeting)
    except OSError:
        control.close()
        raise
    return control


async def ready(control: socket.socket) -> socket.socket:
    """Waits for the guest; its egress listener, non-blocking.

    Raises HostError if the guest ends first or answers with anything else.
    """
    return (await _answer(control, READY, 1))[0]


async def carried_ready(control: socket.socket) -> None:
    """The same of a guest whose listener stays inside (see `carrier`)."""
    await _answer(control, READY, 0)


async def listeners(path: Path, greeting: bytes, answer: bytes, count: int) -> list[socket.socket]:
    """`count` listeners, non-blocking, of the guest at `path`, which is to answer `greeting` with
    `answer`. Raises HostError if it has ended, is mute or answers with anything else."""
    try:
        control = connect(path, greeting)
    except OSError:
        raise HostError("the sandbox has ended") from None
    with control:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                return await _answer(control, answer, count)
        except TimeoutError:
            raise HostError("the sandbox does not answer") from None


async def _answer(control: socket.socket, expected: bytes, count: int) -> list[socket.socket]:
    message, descriptors = await _receive(control, len(expected))
    found = _listeners(descriptors)
    if message != expected or len(found) != count or len(descriptors) != count:
        for listener in found:
            listener.close()
        raise HostError("the guest ended before it was ready" if not message else "a wrong answer")
    for listener in found:
        listener.setblocking(False)
    return found


async def _receive(control: socket.socket, size: int) -> tuple[bytes, list[int]]:
    while True:
        await readable(control.fileno())
        with contextlib.suppress(BlockingIOError):
            try:
                message, descriptors = receive(control, size, _MOST_DESCRIPTORS)
            except ConnectionError:
                return b"", []
            return message, descriptors


def _listeners(descriptors: list[int]) -> list[socket.socket]:
    """Those that are acceptable; every other descriptor is closed."""
    found = []
    for descriptor in descriptors:
        try:
            candidate = socket.socket(fileno=descriptor)
        except OSError:  # not a socket at all
            os.close(descriptor)
            continue
        if _is_listener(candidate):
            found.append(candidate)
        else:
            candidate.close()
    return found


def _is_listener(candidate: socket.socket) -> bool:
    return (
        candidate.family == socket.AF_INET
        and candidate.type == socket.SOCK_STREAM
        and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        and candidate.getsockname()[0] == "127.0.0.1"
    )
