"""The end of a conclave's way to this box: TLS by the box's own key, so that who carries it reads nothing.

What comes out of it enters the door as any client does, through a pair of sockets; what goes in is padded.
Loaded with the first one that comes: a start without is quicker.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from bento.conclave.box_channel import BoxChannel
from bento.conclave.tls import Credential
from bento.errors import BentoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.box.identity import Identity

_READ = 1 << 16
_HANDSHAKE_SECONDS = 60  # as for a request
_LINGER_SECONDS = 2  # for what was said last to leave, before unread bytes reset the connection


class SealedWays:
    """Makes them, all with the one key."""

    def __init__(self, identity: Identity) -> None:
        self._credential = Credential(identity.signing_key)

    async def carry(
        self, outer: socket.socket, early: bytes, enter: Callable[[socket.socket], None]
    ) -> None:
        """From a client's socket, which sent `early` already, to the one that `enter` is given once they have
        shaken hands; until both directions have ended or one is cut. Closes the client's."""
        channel = BoxChannel(self._credential)
        # What is wrong with a client's bytes ends its connection, and is nobody else's.
        with contextlib.closing(outer), contextlib.suppress(OSError, BentoError):
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                data = await _greet(outer, channel, early)
            inner, door = socket.socketpair()
            with contextlib.closing(inner):
                for end in (inner, door):
                    end.setblocking(False)
                enter(door)
                await _both_ways(outer, channel, data, inner)


async def _greet(outer: socket.socket, channel: BoxChannel, early: bytes) -> bytes:
    """The handshake; what came behind it."""
    loop = asyncio.get_running_loop()
    wire = early
    while True:
        data = channel.receive(wire)
        await loop.sock_sendall(outer, channel.outgoing())
        if channel.open:
            return data
        if not (wire := await loop.sock_recv(outer, _READ)):
            raise ConnectionResetError


async def _both_ways(
    outer: socket.socket, channel: BoxChannel, data: bytes, inner: socket.socket
) -> None:
    """An error ends both; so does the door's end, once the client had time to hear of it."""
    inwards = asyncio.create_task(_inwards(outer, channel, data, inner))
    outwards = asyncio.create_task(_outwards(inner, channel, outer))
    try:
        await asyncio.wait((inwards, outwards), return_when=asyncio.FIRST_COMPLETED)
        if not outwards.done() and inwards.exception() is None:
            await asyncio.wait([outwards])
        elif not inwards.done():
            await asyncio.wait([inwards], timeout=_LINGER_SECONDS)
    finally:
        for way in (inwards, outwards):
            way.cancel()
        await asyncio.gather(inwards, outwards, return_exceptions=True)


async def _inwards(
    outer: socket.socket, channel: BoxChannel, data: bytes, inner: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendall(inner, data)
        if channel.closed:
            inner.shutdown(socket.SHUT_WR)
            return
        if not (wire := await loop.sock_recv(outer, _READ)):
            raise ConnectionResetError
        data = channel.receive(wire)


async def _outwards(inner: socket.socket, channel: BoxChannel, outer: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(inner, _READ):
        channel.send(data)
        await loop.sock_sendall(outer, channel.outgoing())
    channel.finish()
    await loop.sock_sendall(outer, channel.outgoing())
    outer.shutdown(socket.SHUT_WR)
