"""The control connection: opened by the box, answered by the guest with its egress listener.

A guest may be hostile by the time a restarted box connects again, so what it answers is checked:
one message, one descriptor, and that one a listening IPv4 stream socket on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from bento.errors import HostError
from bento.sandbox.descriptors import readable, receive

CONTROL = b"C"
READY = b"ready"
_MOST_DESCRIPTORS = 8  # taken off the message to be closed; the kernel drops any more


def connect(path: Path) -> socket.socket:
    """A control connection to the socket at `path`. Raises OSError if nobody holds it."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.connect(os.fspath(path))
        control.setblocking(False)
        control.send(CONTROL)
    except OSError:
        control.close()
        raise
    return control


async def ready(control: socket.socket) -> socket.socket:
    """Waits for the guest; its egress listener, non-blocking.

    Raises HostError if the guest ends first or answers with anything else.
    """
    message, descriptors = await _receive(control)
    listener = _listener(descriptors)
    if message != READY or listener is None:
        if listener:
            listener.close()
        raise HostError("the guest ended before it was ready" if not message else "a wrong answer")
    listener.setblocking(False)
    return listener


async def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    while True:
        await readable(control.fileno())
        with contextlib.suppress(BlockingIOError):
            try:
                message, descriptors = receive(control, len(READY), _MOST_DESCRIPTORS)
            except ConnectionError:
                return b"", []
            return message, descriptors


def _listener(descriptors: list[int]) -> socket.socket | None:
    """The one acceptable socket; every other descriptor is closed."""
    if len(descriptors) != 1:
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    try:
        candidate = socket.socket(fileno=descriptors[0])
    except OSError:  # not a socket at all
        os.close(descriptors[0])
        return None
    if _is_egress_listener(candidate):
        return candidate
    candidate.close()
    return None


def _is_egress_listener(candidate: socket.socket) -> bool:
    return (
        candidate.family == socket.AF_INET
        and candidate.type == socket.SOCK_STREAM
        and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        and candidate.getsockname()[0] == "127.0.0.1"
    )
