"""Bytes between two sockets: all of them, in order, with half-close, back-pressure and resets."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
from collections.abc import Callable

import pytest

from bento.egress.limits import RELAY_BUFFER
from bento.egress.relay import Relay


class OpenGate:
    """Lets everything pass; `budget` is the next allowance, `sleepers` who waits for more."""

    def __init__(self, budget: int = 1 << 60) -> None:
        self.budget = budget
        self.sleepers: list[Callable[[], None]] = []
        self.counted = {True: 0, False: 0}

    def allowance(self) -> int:
        return self.budget

    def wait(self, resume: Callable[[], None]) -> None:
        self.sleepers.append(resume)

    def passed(self, count: int, outwards: bool) -> None:
        self.counted[outwards] += count
        self.budget -= count


class Pair:
    """A relay between two TCP connections: `function` and `network` are the far ends."""

    def __init__(self, gate: OpenGate, idle: float = 600, early: bytes = b"") -> None:
        self.function, inner = tcp_pair()
        self.network, outer = tcp_pair()
        self.done = asyncio.Event()
        self.relay = Relay(inner, outer, gate, idle_seconds=idle, early=early, done=self.done.set)
        self.ends = (self.function, self.network)

    async def __aenter__(self) -> Pair:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.relay.abort()
        for end in self.ends:
            end.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    far.setblocking(False)
    near.setblocking(False)
    return far, near


async def read_all(sock: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), bytearray()
    while more := await loop.sock_recv(sock, 1 << 16):
        data += more
    return bytes(data)


async def test_both_directions_arrive_whole_at_once() -> None:
    gate = OpenGate()
    out, back = random.Random(1).randbytes(7_000_001), random.Random(2).randbytes(3_000_003)
    loop = asyncio.get_running_loop()
    async with Pair(gate) as pair:

        async def send(sock: socket.socket, data: bytes) -> None:
            await loop.sock_sendall(sock, data)
            sock.shutdown(socket.SHUT_WR)

        _, _, got_out, got_back = await asyncio.gather(
            send(pair.function, out),
            send(pair.network, back),
            read_all(pair.network),
            read_all(pair.function),
        )
        await pair.done.wait()
    assert hashlib.sha256(got_out).digest() == hashlib.sha256(out).digest()
    assert hashlib.sha256(got_back).digest() == hashlib.sha256(back).digest()
    assert gate.counted == {True: len(out), False: len(back)}


async def test_half_close_passes_on_and_the_other_way_goes_on() -> None:
    loop = asyncio.get_running_loop()
    async with Pair(OpenGate()) as pair:
        await loop.sock_sendall(pair.function, b"question")
        pair.function.shutdown(socket.SHUT_WR)
        assert await read_all(pair.network) == b"question"
        assert not pair.done.is_set()
        await loop.sock_sendall(pair.network, b"answer")
        pair.network.close()
        assert await read_all(pair.function) == b"answer"
        await pair.done.wait()


async def test_what_came_before_the_relay_goes_first() -> None:
    loop = asyncio.get_running_loop()
    gate = OpenGate()
    async with Pair(gate, early=b"early ") as pair:
        await loop.sock_sendall(pair.function, b"late")
        pair.function.shutdown(socket.SHUT_WR)
        assert await read_all(pair.network) == b"early late"
    assert gate.counted[True] == 10


async def test_a_slow_reader_holds_up_its_sender_and_costs_one_buffer() -> None:
    gate = OpenGate()
    async with Pair(gate) as pair:
        sent, quiet, chunk = 0, 0, bytes(1 << 16)
        while quiet < 20:  # until nothing has moved for 0.2 seconds
            before = sent
            try:
                sent += pair.function.send(chunk)
            except BlockingIOError:
                await asyncio.sleep(0.01)
            quiet = quiet + 1 if sent == before else 0
        stuck = gate.counted[True]
        assert stuck < sent, "it went on reading although nobody took the bytes"
        await asyncio.sleep(0.1)
        assert gate.counted[True] == stuck
        assert len(pair.relay._ways[0]._pending) <= RELAY_BUFFER
        pair.function.shutdown(socket.SHUT_WR)
        assert len(await read_all(pair.network)) == sent


async def test_a_reset_passes_on_as_a_reset() -> None:
    loop = asyncio.get_running_loop()
    async with Pair(OpenGate()) as pair:
        await loop.sock_sendall(pair.network, b"x")
        assert await loop.sock_recv(pair.function, 1) == b"x"
        pair.network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        pair.network.close()
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(pair.function, 1)
        await pair.done.wait()


async def test_an_idle_connection_is_reset_and_a_busy_one_is_not() -> None:
    loop = asyncio.get_running_loop()
    async with Pair(OpenGate(), idle=1) as pair:
        for _ in range(6):
            await asyncio.sleep(0.2)
            await loop.sock_sendall(pair.function, b".")
        assert not pair.done.is_set()
        await asyncio.wait_for(pair.done.wait(), 60)
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(pair.function, 1)


async def test_without_an_allowance_nothing_is_read_until_it_is_woken() -> None:
    loop = asyncio.get_running_loop()
    gate = OpenGate(budget=5)
    async with Pair(gate) as pair:
        await loop.sock_sendall(pair.function, b"0123456789")
        assert await loop.sock_recv(pair.network, 100) == b"01234"
        while not gate.sleepers:
            await asyncio.sleep(0.001)
        assert gate.counted[True] == 5
        gate.budget = 100
        for resume in gate.sleepers:
            resume()
        assert await loop.sock_recv(pair.network, 100) == b"56789"


async def test_done_is_called_once_and_the_sockets_are_closed() -> None:
    calls: list[int] = []
    function, inner = tcp_pair()
    network, outer = tcp_pair()
    relay = Relay(
        inner, outer, OpenGate(), idle_seconds=60, early=b"", done=lambda: calls.append(1)
    )
    relay.abort()
    relay.abort()
    assert calls == [1]
    assert inner.fileno() == outer.fileno() == -1
    function.close()
    network.close()
