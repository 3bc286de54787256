"""The ways out: through Tor's SOCKS port with names passed on, or none. (Direct: test_proxy.)"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.egress.clients import client_of

from bento.egress import (
    DestinationLimits,
    EgressLimits,
    EgressPolicy,
    EgressProxy,
    EgressRules,
    NoRoute,
    TorRoute,
)
from bento.egress.routes import reply_of
from bento.egress.socks_server import Reply
from bento.errors import BentoError

ONION = "a" * 56 + ".onion"


class FakeTor:
    """A SOCKS port that answers every request with one reply, and keeps what it was asked."""

    def __init__(self, reply: bytes = b"\x05\x00\x00\x01" + bytes(6)) -> None:
        self.reply = reply
        self.heard: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A real tor loses its answer if more than the greeting comes in one read.
        assert await reader.read(100) == b"\x05\x01\x02", "only with a user name"
        writer.write(b"\x05\x02")
        head = await reader.readexactly(2)
        user = await reader.readexactly(head[1])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        assert password
        self.heard.append(user)
        start = await reader.readexactly(5)
        size = {1: 3, 4: 15, 3: start[4]}[start[3]]
        self.heard.append(start + await reader.readexactly(size + 2))
        writer.write(b"\x01\x00" + self.reply)
        if self.reply[1] == 0:
            writer.write(b"echo:" + await reader.read(100))
        await writer.drain()


@asynccontextmanager
async def tor_at(path: Path, tor: FakeTor) -> AsyncIterator[str]:
    server = await asyncio.start_unix_server(tor.handle, path)
    try:
        yield f"unix:{path}"
    finally:
        server.close()


def named(identity: str) -> Callable[[str], str]:
    """User names of one function, as a box makes them."""
    return lambda user: f"{identity}.{user}" if user else identity


def through(proxy: str, *rules: str) -> EgressProxy:
    policy = EgressPolicy(rules=EgressRules.parse(rules or ["*:*"]), exit_policy=None)
    return EgressProxy(policy, EgressLimits(), TorRoute(proxy, named("instance-7")))


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("example.com", b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"),
        (ONION, b"\x05\x01\x00\x03\x3e" + ONION.encode() + b"\x01\xbb"),
        ("93.184.216.34", b"\x05\x01\x00\x01\x5d\xb8\xd8\x22\x01\xbb"),
        ("2606:4700::1", b"\x05\x01\x00\x04" + ip_address("2606:4700::1").packed + b"\x01\xbb"),
    ],
)
async def test_names_and_addresses_are_passed_on_to_tor(
    tmp_path: Path, host: str, asked: bytes
) -> None:
    tor = FakeTor()
    async with tor_at(tmp_path / "socks", tor) as proxy, client_of(through(proxy)) as client:
        answer = await client.ask(host, 443)
        assert answer.code == Reply.SUCCEEDED, answer.reason
        answer.writer.write(b"hello")
        answer.writer.write_eof()
        assert await answer.reader.read() == b"echo:hello"
        answer.writer.close()
    assert tor.heard == [b"instance-7", asked]


async def test_a_function_names_its_streams_but_never_itself(tmp_path: Path) -> None:
    tor = FakeTor()
    login = b"\x01\x0ainstance-8\x01x"
    async with tor_at(tmp_path / "socks", tor) as proxy, client_of(through(proxy)) as client:
        reader, writer = await client.raw()
        writer.write(b"\x05\x01\x02" + login + b"\x05\x01\x00\x03\x01a\x00\x50")
        assert await reader.readexactly(2 + 2 + 10) == b"\x05\x02\x01\x00\x05\x00\x00\x01" + bytes(
            6
        )
        writer.close()
    assert tor.heard[0] == b"instance-7.instance-8"


async def test_a_name_too_long_for_tor_is_an_ordinary_refusal(tmp_path: Path) -> None:
    tor = FakeTor()
    login = b"\x01\xff" + b"a" * 255 + b"\x01x"
    async with tor_at(tmp_path / "socks", tor) as proxy, client_of(through(proxy)) as client:
        reader, writer = await client.raw()
        writer.write(b"\x05\x01\x02" + login + b"\x05\x01\x00\x03\x01a\x00\x50")
        assert (await reader.readexactly(2 + 2 + 10))[5] == Reply.FAILURE
        writer.close()
    assert tor.heard == []


async def test_two_ways_out_of_one_instance_share_its_quotas(tmp_path: Path) -> None:
    tor = FakeTor()
    async with tor_at(tmp_path / "socks", tor) as proxy:
        first = through(proxy)
        second = first.sibling(first.policy, first.route)
        async with client_of(first) as one, client_of(second) as two:
            for client in (one, two):
                answer = await client.ask("example.com", 80)
                answer.writer.write(b"x" * 100)
                answer.writer.write_eof()
                assert len(await answer.reader.read()) == 105
                answer.writer.close()
        assert first.counters is second.counters
        assert (first.counters.connections, first.counters.bytes_out) == (2, 200)


async def test_each_instance_has_circuits_of_its_own(tmp_path: Path) -> None:
    """tor isolates by SOCKS user: what one function does is not linked to another's."""
    tor = FakeTor()
    async with tor_at(tmp_path / "socks", tor) as proxy:
        for identity in ("one", "two"):
            policy = EgressPolicy(rules=EgressRules.parse(["*:*"]), exit_policy=None)
            egress = EgressProxy(policy, EgressLimits(), TorRoute(proxy, named(identity)))
            async with client_of(egress) as client:
                (await client.ask("example.com", 80)).writer.close()
    assert tor.heard[::2] == [b"one", b"two"]


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "127.0.0.1", "::1", "localhost", "box.local", "example.com"]
)
async def test_what_the_policy_refuses_is_not_asked_of_tor(tmp_path: Path, host: str) -> None:
    tor = FakeTor()
    async with (
        tor_at(tmp_path / "socks", tor) as proxy,
        client_of(through(proxy, "*:80")) as client,
    ):
        port = 443 if host == "example.com" else 80
        code, reason = await client.refused(host, port)
        assert code == Reply.NOT_ALLOWED
        assert host in reason
    assert tor.heard == []


async def test_a_name_is_one_destination_when_tor_resolves_it(tmp_path: Path) -> None:
    limits = EgressLimits(destination=DestinationLimits(connections=1))
    policy = EgressPolicy(rules=EgressRules.parse(["*:*"]), exit_policy=None)
    async with tor_at(tmp_path / "socks", FakeTor()) as proxy:
        egress = EgressProxy(policy, limits, TorRoute(proxy, named("instance-7")))
        async with client_of(egress) as client:
            held = await client.ask("example.com", 443)
            code, reason = await client.refused("example.com", 80)
            assert code == Reply.NOT_ALLOWED
            assert reason.startswith("example.com already has 1 open")
            other = await client.ask("example.org", 443)
            assert other.code == Reply.SUCCEEDED
            held.writer.close()
            other.writer.close()


@pytest.mark.parametrize(
    ("code", "reply", "words"),
    [
        (1, Reply.FAILURE, "Tor failed"),
        (2, Reply.NOT_ALLOWED, "no Tor exit allows"),
        (3, Reply.NETWORK_UNREACHABLE, "no way"),
        (4, Reply.HOST_UNREACHABLE, "cannot resolve"),
        (5, Reply.CONNECTION_REFUSED, "refused the connection"),
        (6, Reply.TIMED_OUT, "timed out"),
        (0xF0, Reply.HOST_UNREACHABLE, "not known"),
        (0xF4, Reply.NOT_ALLOWED, "client key"),
        (0xF7, Reply.TIMED_OUT, "timed out"),
        (0x99, Reply.FAILURE, "Tor failed"),
    ],
)
async def test_tors_failures_keep_their_meaning(
    tmp_path: Path, code: int, reply: Reply, words: str
) -> None:
    tor = FakeTor(bytes((5, code, 0, 1)) + bytes(6))
    async with tor_at(tmp_path / "socks", tor) as proxy, client_of(through(proxy)) as client:
        got, reason = await client.refused("example.com", 443)
        assert got == reply
        assert words in reason


@pytest.mark.parametrize("bound", [b"\x01" + bytes(6), b"\x04" + bytes(18), b"\x03\x02ab\x00\x00"])
async def test_every_kind_of_bound_address_is_skipped(tmp_path: Path, bound: bytes) -> None:
    tor = FakeTor(b"\x05\x00\x00" + bound)
    async with tor_at(tmp_path / "socks", tor) as proxy, client_of(through(proxy)) as client:
        answer = await client.ask("example.com", 443, early=b"x")
        answer.writer.write_eof()
        assert await answer.reader.read() == b"echo:x"
        answer.writer.close()


async def test_a_tor_that_is_gone_or_strange_is_named(tmp_path: Path) -> None:
    async with client_of(through(f"unix:{tmp_path}/none")) as client:
        assert await client.refused("example.com", 443) == (
            Reply.FAILURE,
            "the box's tor cannot be reached",
        )

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    for handler, words in ((closes, "closed the connection"), (strange, "does not take")):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with client_of(through(f"127.0.0.1:{port}")) as client:
            code, reason = await client.refused("example.com", 443)
            assert code == Reply.FAILURE
            assert words in reason
        server.close()


@pytest.mark.parametrize("proxy", ["", "localhost", "127.0.0.1:0", "127.0.0.1:x"])
def test_a_tor_that_cannot_be_one_is_refused_at_once(proxy: str) -> None:
    with pytest.raises(BentoError):
        TorRoute(proxy, named("instance-7"))


@pytest.mark.parametrize("identity", ["a" * 256, "ü"])
def test_an_identity_that_socks_cannot_carry_is_refused_at_once(identity: str) -> None:
    with pytest.raises(BentoError):
        TorRoute("127.0.0.1:9050", named(identity))


async def test_without_a_route_everything_is_refused_in_words() -> None:
    egress = EgressProxy(
        EgressPolicy(rules=EgressRules.parse(["*:*"]), exit_policy=None), EgressLimits(), NoRoute()
    )
    async with client_of(egress) as client:
        for host in ("example.com", "93.184.216.34"):
            code, reason = await client.refused(host, 443)
            assert (code, reason) == (Reply.NOT_ALLOWED, "this box gives functions no network")


def test_errors_of_the_box_become_replies_of_their_kind() -> None:
    assert reply_of(ConnectionRefusedError(111, "x"))[0] == Reply.CONNECTION_REFUSED
    assert reply_of(OSError(101, "x"))[0] == Reply.NETWORK_UNREACHABLE
    assert reply_of(OSError(113, "x"))[0] == Reply.NETWORK_UNREACHABLE
    assert reply_of(TimeoutError())[0] == Reply.TIMED_OUT
    assert reply_of(OSError(110, "x"))[0] == Reply.TIMED_OUT
    assert reply_of(socket.gaierror(-2, "x"))[0] == Reply.HOST_UNREACHABLE
    assert reply_of(OSError("no number"))[0] == Reply.FAILURE


def test_errors_of_the_box_tell_nothing_about_it() -> None:
    code, words = reply_of(OSError(24, "Too many open files", "/secret"))
    assert (code, words) == (Reply.FAILURE, "the connection could not be made")
