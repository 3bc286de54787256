"""A SOCKS client for tests that looks at every byte of the answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bento.egress import EgressProxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Answer:
    """The reply code, the sentence after a failure, and the streams."""

    code: int
    reason: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def connect_request(host: str, port: int) -> bytes:
    tail = port.to_bytes(2, "big")
    for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        try:
            return b"\x05\x01\x00" + kind + socket.inet_pton(family, host) + tail
        except OSError:
            continue
    return b"\x05\x01\x00\x03" + bytes((len(host),)) + host.encode() + tail


@dataclass
class Client:
    """Connects to one proxy."""

    proxy_port: int

    async def raw(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.proxy_port)

    async def ask(self, host: str, port: int, early: bytes = b"") -> Answer:
        reader, writer = await self.raw()
        writer.write(b"\x05\x01\x00" + connect_request(host, port) + early)
        assert await reader.readexactly(2) == b"\x05\x00"
        reply = await reader.readexactly(10)
        reason = "" if reply[1] == 0 else (await reader.read()).decode().strip()
        return Answer(reply[1], reason, reader, writer)

    async def refused(self, host: str, port: int) -> tuple[int, str]:
        answer = await self.ask(host, port)
        answer.writer.close()
        return answer.code, answer.reason


@asynccontextmanager
async def client_of(egress: EgressProxy) -> AsyncIterator[Client]:
    """The proxy on a listener of this host's own namespace; closed at the end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    await egress.serve(listener)
    try:
        yield Client(port)
    finally:
        await egress.close()
