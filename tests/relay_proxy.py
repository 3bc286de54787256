"""What a user's tor dials its relays through (option Socks5Proxy), for observers of its line."""

from __future__ import annotations

import asyncio


async def through(reader, writer):
    """Answers tor's request; the streams of the connection to its relay."""
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(b"\5\0")
    head = await reader.readexactly(4)
    assert head[3] == 1, "relays are dialled by address"
    address = ".".join(map(str, await reader.readexactly(4)))
    port = int.from_bytes(await reader.readexactly(2), "big")
    assert address.startswith("127.")
    relay = await asyncio.open_connection(address, port)
    writer.write(b"\5\0\0\1" + bytes(6))
    return relay
