"""The ways to serve: one C-tor, and Bento's front with replicas on the servers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.onion.balancing import SocketChannel
from tests.onion.serving import control_of

from bento.functions.balancer.fleet import Options
from bento.functions.balancer.front import Content, Front
from bento.functions.balancer.replica import Replica
from bento.functions.balancer.site import FILES
from bento.onion.blinding import OnionIdentity
from bento.onion.wire import vector
from experiments.balancer.limited import SERVERS, FencedNetwork, LimitedNetwork

_LOOK = 0.5


@dataclass
class Serving:
    """`replica_seconds` is known once it is over."""

    address: str
    replica_seconds: float = 0.0
    most: int = 1
    served: dict[int, int] = field(default_factory=dict)
    """Clients of each replica, where they are known."""


@contextlib.asynccontextmanager
async def web(address: str, content: bytes) -> AsyncIterator[int]:
    """The server behind C-tor's services; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, address, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def one_tor(network: LimitedNetwork, content: bytes) -> AsyncIterator[Serving]:
    """An onion service as they are: one machine."""
    node = network["s0"]
    async with web(node.address, content) as port:
        with node.controller() as control:
            service = await asyncio.to_thread(
                control.create_ephemeral_hidden_service,
                {80: f"{node.address}:{port}"},
                await_publication=True,
            )
            began = time.monotonic()
            serving = Serving(f"{service.service_id}.onion")
            yield serving
            serving.replica_seconds = time.monotonic() - began


@contextlib.asynccontextmanager
async def bento(
    network: LimitedNetwork, content: bytes, options: Options
) -> AsyncIterator[Serving]:
    """Bento's front, and its replicas on the servers in turn; each in this process, over its own link."""
    folder = vector(b"file", 2) + vector(content, 4)
    fenced = network.fenced()
    async with contextlib.AsyncExitStack() as stack:
        control = await stack.enter_async_context(await control_of(network["c1"].control_socket))
        net = FencedNetwork(control, fenced)
        stack.push_async_callback(net.close)
        running: set[asyncio.Task[None]] = set()

        async def start(number: int) -> SocketChannel:
            here, there = await _pair()
            server = network[f"s{(number - 1) % SERVERS}"]
            task = asyncio.ensure_future(_replica(server.control_socket, fenced, there))
            running.add(task)
            task.add_done_callback(running.discard)
            return here

        front = Front(OnionIdentity.generate(), net, start, Content(FILES, folder), options)
        await front.start()
        stack.push_async_callback(front.close)
        await front.service.published()
        before = front.describe()["replica_seconds"]
        serving = Serving(f"{front.address}.onion")
        watching = asyncio.ensure_future(_watch(front, serving))
        yield serving
        watching.cancel()
        serving.replica_seconds = front.describe()["replica_seconds"] - before
        for task in tuple(running):
            task.cancel()


async def _watch(front: Front, serving: Serving) -> None:
    while True:
        replicas = front.describe()["replicas"]
        serving.most = max(serving.most, len(replicas))
        serving.served |= {replica["number"]: replica["served"] for replica in replicas}
        await asyncio.sleep(_LOOK)


async def _replica(control: Path, fenced: frozenset[str], channel: SocketChannel) -> None:
    async with await control_of(control) as controller:
        net = FencedNetwork(controller, fenced)
        try:
            await Replica(net, channel).run()
        finally:
            await net.close()


async def _pair() -> tuple[SocketChannel, SocketChannel]:
    import socket

    one, two = socket.socketpair()
    return await SocketChannel.over(one), await SocketChannel.over(two)
