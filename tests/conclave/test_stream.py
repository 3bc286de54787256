"""The attested stream over a real connection."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.conclave.channel_pair import Conclave, client, judge, policy

from bento.conclave.stream import AttestedStream
from bento.errors import AttestationError, RemoteProtocolError


@asynccontextmanager
async def connected(echo, conclave=None):
    """A conclave behind a socket; `echo(conclave, writer)` runs once the function has arrived."""
    conclave = conclave or Conclave()
    handled = asyncio.Event()

    async def serve(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(conclave.exchange(data))
                if conclave.received:
                    echo(conclave)
                    conclave.received.clear()
                    writer.write(conclave.channel.outgoing())
                if conclave.channel.closed:
                    break
        finally:
            writer.close()
            handled.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer, conclave
    finally:
        writer.close()
        await handled.wait()
        server.close()


def answer(conclave):
    for payload in conclave.received:
        conclave.channel.send(payload.upper())


async def test_a_function_is_sent_and_answered():
    async with connected(answer) as (reader, writer, conclave):
        stream = await AttestedStream.open(reader, writer, client())
        async with stream:
            assert stream.verdict.accepted
            await stream.send(b"function")
            assert await stream.receive() == b"FUNCTION"
    assert conclave.channel.closed


async def test_the_announced_end_is_told_apart_from_a_cut():
    def end(conclave):
        conclave.channel.send(b"last")
        conclave.channel.finish()

    async with connected(end) as (reader, writer, _):
        stream = await AttestedStream.open(reader, writer, client())
        await stream.send(b"x")
        assert await stream.receive() == b"last"
        assert await stream.receive() is None
        await stream.close()

    def cut(conclave):
        conclave.channel._state = 4  # the box ends the connection after this

    async with connected(cut) as (reader, writer, _):
        stream = await AttestedStream.open(reader, writer, client())
        await stream.send(b"x")
        with pytest.raises(RemoteProtocolError, match="cut"):
            await stream.receive()
        writer.close()


async def test_a_refused_conclave_gets_nothing_and_the_connection_is_closed():
    strict = judge(policy(families=["sgx"], min_level="vm"))
    async with connected(answer) as (reader, writer, conclave):
        with pytest.raises(AttestationError):
            await AttestedStream.open(reader, writer, client(decide=strict))
        assert writer.is_closing()
        assert conclave.received == []
