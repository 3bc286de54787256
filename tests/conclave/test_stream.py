"""The attested stream over a real connection, and its counterpart in the guest's loop."""

import asyncio
import os
import select
import socket
from contextlib import asynccontextmanager

import pytest
from tests.conclave.channel_pair import IDENTITY, MANIFEST, Conclave, client, judge, policy

from bento.conclave.channel_guest import GuestChannel
from bento.conclave.guest_socket import GuestSocket
from bento.conclave.stream import AttestedStream
from bento.conclave.tls import Credential
from bento.errors import AttestationError, LocalProtocolError, RemoteProtocolError


@asynccontextmanager
async def connected(act):
    """A guest's loop behind a socket; `act(guest, data)` runs for what it receives."""
    ours, theirs = socket.socketpair()
    conclave = Conclave()

    def ask(wanted):
        guest.answer(conclave.attester.evidence(wanted).encode())

    theirs.setblocking(False)
    guest = GuestSocket(theirs, GuestChannel(Credential(), IDENTITY, MANIFEST), ask)
    received = []
    loop = asyncio.create_task(asyncio.to_thread(serve, guest, act, received))
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield reader, writer, received
    finally:
        writer.close()
        await loop


def serve(guest, act, received):
    """What a guest's loop does with a socket: wait, read, write."""
    queue = bytearray()
    with select.epoll() as poll:
        poll.register(guest.fileno(), select.EPOLLIN)
        try:
            while True:
                wanted = select.EPOLLOUT if guest.pending or queue else 0
                poll.modify(guest.fileno(), select.EPOLLIN | wanted)
                for _, events in poll.poll():
                    if events & select.EPOLLOUT:
                        guest.flush()
                    if events & select.EPOLLIN:
                        try:
                            data = guest.recv(65536)
                        except BlockingIOError:
                            pass
                        else:
                            if not data:
                                return
                            received.append(data)
                            queue += act(guest, data) or b""
                            if guest.fileno() < 0:
                                return
                    try:
                        while queue:
                            del queue[: guest.send(bytes(queue))]
                    except BlockingIOError:
                        pass
        except (RemoteProtocolError, OSError) as error:
            received.append(error)
        finally:
            guest.close()


def upper(guest, data):
    return data.upper()


async def test_a_function_is_sent_and_answered():
    async with connected(upper) as (reader, writer, received):
        stream = await AttestedStream.open(reader, writer, client())
        assert stream.verdict.accepted
        stream.write(b"function")
        assert await stream.read() == b"FUNCTION"
        stream.close()
        stream.close()
        stream.write(b"too late")
        await stream.wait_closed()
    assert received == [b"function"]


async def test_more_than_the_sockets_hold_goes_both_ways():
    data = os.urandom(3_000_000)
    async with connected(lambda guest, piece: piece) as (reader, writer, _):
        stream = await AttestedStream.open(reader, writer, client())

        async def send():
            for at in range(0, len(data), 100_000):
                stream.write(data[at : at + 100_000])
                await stream.drain()

        sending = asyncio.create_task(send())
        echoed = bytearray()
        while len(echoed) < len(data):
            echoed += await stream.read(50_000)
        await sending
        stream.close()
    assert echoed == data


async def test_the_first_flight_may_travel_with_the_request_to_the_box():
    async with connected(upper) as (reader, writer, _):
        channel = client()
        writer.write(channel.outgoing())
        early = await reader.read(100)
        stream = await AttestedStream.open(reader, writer, channel, early)
        stream.write(b"x")
        assert await stream.read(1) == b"X"
        stream.close()


async def test_the_announced_end_is_told_apart_from_a_cut():
    def end(guest, data):
        guest.send(b"last")
        guest.shutdown(1)

    async with connected(end) as (reader, writer, _):
        stream = await AttestedStream.open(reader, writer, client())
        stream.write(b"x")
        assert await stream.read() == b"last"
        assert await stream.read() == b""
        stream.close()

    async with connected(lambda guest, data: guest.close()) as (reader, writer, _):
        stream = await AttestedStream.open(reader, writer, client())
        stream.write(b"x")
        with pytest.raises(ConnectionResetError, match="cut"):
            await stream.read()
        writer.close()


async def test_the_guest_tells_a_cut_from_an_end_too():
    async with connected(upper) as (reader, writer, received):
        stream = await AttestedStream.open(reader, writer, client())
        stream.write(b"x")
        await stream.read()
        writer.close()
    assert isinstance(received[-1], RemoteProtocolError | ConnectionError)


async def test_a_refused_conclave_gets_nothing_and_the_connection_is_closed():
    strict = judge(policy(families=["sgx"], min_level="vm"))
    async with connected(upper) as (reader, writer, received):
        with pytest.raises(AttestationError):
            await AttestedStream.open(reader, writer, client(decide=strict))
        assert writer.is_closing()
    assert not [item for item in received if isinstance(item, bytes)]


def test_a_guest_sends_nothing_before_its_evidence():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    guest = GuestSocket(theirs, GuestChannel(Credential(), IDENTITY, MANIFEST), lambda wanted: None)
    with pytest.raises(LocalProtocolError):
        guest.send(b"x")
    with pytest.raises(BlockingIOError):
        guest.recv(10)
    guest.close()
    ours.close()
