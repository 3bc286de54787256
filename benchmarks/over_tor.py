"""What figures over Tor share: a private network of their own, and plain bulk beside which they stand."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bento.client.box import Box
from bento.client.network import Network, TorEndpoints
from bento.client.route import CircuitRoute
from bento.testnet import Status, Testnet
from bento.tor.circuits import Circuit

_WEB = "127.80.3.1"


@asynccontextmanager
async def private_network() -> AsyncIterator[tuple[Testnet, Status]]:
    """It starts from nothing and is gone afterwards; commands find it."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["BENTO_HOME"] = home
        testnet = Testnet()
        try:
            yield testnet, await testnet.up(owner=os.getpid())
        finally:
            await testnet.down()


@asynccontextmanager
async def client_of(testnet: Testnet) -> AsyncIterator[Network]:
    async with await Network.open(TorEndpoints(*testnet.user_tor())) as network:
        yield network


@asynccontextmanager
async def first_box(testnet: Testnet) -> AsyncIterator[tuple[Box, Circuit]]:
    """A client's handle of it, and the circuit that it is reached by."""
    async with client_of(testnet) as network, await network.box("box0") as box:
        route = box._route
        assert isinstance(route, CircuitRoute)
        yield box, route._circuit


@dataclass(frozen=True)
class Plain:
    """What curl would talk to: a server that sends `size` bytes to whoever connects."""

    size: int
    port: int

    @classmethod
    @asynccontextmanager
    async def serving(cls, size: int) -> AsyncIterator[Plain]:
        block = bytes(1 << 18)

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            for _ in range(size // len(block)):
                writer.write(block)
                await writer.drain()
            writer.close()

        async with await asyncio.start_server(send, _WEB, 0) as server:
            yield cls(size, server.sockets[0].getsockname()[1])

    async def rate(self, circuit: Circuit) -> float:
        """MB/s of a download over the circuit, from the first byte to the last."""
        reader, writer = await circuit.open_stream(_WEB, self.port)
        writer.write(b"x")
        size = len(await reader.read(1))
        began = time.perf_counter()
        while data := await reader.read(1 << 18):
            size += len(data)
        writer.close()
        assert size == self.size
        return size / 1e6 / (time.perf_counter() - began)
