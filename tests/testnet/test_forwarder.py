"""The forwarder: what comes leaves later, in order, whole, and nothing leaves the machine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bento.errors import UsageError
from bento.testnet import forwarder
from bento.testnet.forwarder import Forwarder

HOST = "127.77.9.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def link(delay: float, handler: Handler = echo, source: str = "") -> AsyncIterator[Streams]:
    """A connection to `handler` through a forwarder."""
    target = await asyncio.start_server(handler, HOST, 0)
    front = await Forwarder(delay, target.sockets[0].getsockname()).listen(HOST, 0)
    async with target, front:
        reader, writer = await asyncio.open_connection(
            *front.sockets[0].getsockname(), local_addr=(source, 0) if source else None
        )
        yield reader, writer
        writer.close()


async def round_trip(delay: float) -> float:
    loop = asyncio.get_running_loop()
    times = []
    async with link(delay) as (reader, writer):
        for _ in range(7):
            begun = loop.time()
            writer.write(b"ping")
            await reader.readexactly(4)
            times.append(loop.time() - begun)
    return min(times)  # what a busy machine adds is not the forwarder


async def test_a_round_trip_takes_twice_the_delay() -> None:
    slow = await round_trip(0.05) - await round_trip(0)
    assert 1.9 <= slow / 0.05 <= 3.0


async def test_no_byte_is_lost_or_moved_while_many_are_under_way() -> None:
    blob = bytes(range(256)) * (1 << 16)  # 16 MiB, twice what may be in flight

    async with link(0.01) as (reader, writer):
        sending = asyncio.create_task(send(writer, blob))
        back = await reader.readexactly(len(blob))
        await sending
    assert hashlib.sha256(back).digest() == hashlib.sha256(blob).digest()


async def send(writer: asyncio.StreamWriter, blob: bytes) -> None:
    writer.write(blob)
    await writer.drain()


async def test_a_receiver_that_does_not_read_stops_the_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarder, "MOST_IN_FLIGHT", 1 << 16)
    stalled = asyncio.Event()

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stalled.wait()
        writer.close()

    async with link(0.001, deaf) as (_, writer):
        # Far more than every buffer on the way (kernel, streams, forwarder) can hold.
        sending = asyncio.create_task(send(writer, bytes(64 << 20)))
        await asyncio.wait([sending], timeout=1)
        assert not sending.done()
        sending.cancel()
        stalled.set()


async def test_the_last_bytes_arrive_before_the_end() -> None:
    async def speak_and_leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        writer.close()

    async with link(0.05, speak_and_leave) as (reader, _):
        assert await reader.read() == b"last words"


async def test_the_target_sees_the_address_of_the_peer() -> None:
    """A relay tells by it whether the peer is the relay that it says it is."""
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(writer.get_extra_info("peername")[0])
        writer.close()

    async with link(0, look, source="127.77.9.2") as (reader, _):
        await reader.read()
        assert await seen.get() == "127.77.9.2"


async def test_the_link_to_a_relay_that_is_not_there_ends() -> None:
    front = await Forwarder(0, (HOST, 1)).listen(HOST, 0)
    async with front:
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(("listen", "target"), [("0.0.0.0", HOST), (HOST, "192.0.2.1")])
async def test_it_serves_loopback_addresses_only(listen: str, target: str) -> None:
    with pytest.raises(UsageError, match="loopback"):
        await Forwarder(0, (target, 1)).listen(listen, 0)
