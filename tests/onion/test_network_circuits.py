"""Real relays: a link, circuits and streams through unmodified tors carry the right bytes."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import AsyncIterator

import pytest
from tests.onion.network import PrivateNetwork
from tests.onion.serving import blob, control_of

from bento.errors import RemoteProtocolError, TorError
from bento.onion import directory
from bento.onion.certs import RelayIdentity
from bento.onion.channel import Channel
from bento.onion.circuit import Circuit
from bento.onion.congestion import PathKind, Vegas, VegasParams
from bento.onion.directory import Directory
from bento.onion.errors import CircuitClosed, StreamEnded
from bento.onion.relay import EndReason

pytestmark = pytest.mark.network
PORT = 8093
CC = VegasParams.from_consensus({}, PathKind.EXIT)
MEGABYTE = 1_000_000


class Web:
    """One request line each connection: `get N`, `put N`, `hang`, `echo`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            verb, _, argument = (await reader.readline()).decode().strip().partition(" ")
            if verb == "get":
                writer.write(blob(int(argument)))
                await writer.drain()
            elif verb == "put":
                data = await reader.readexactly(int(argument))
                writer.write(hashlib.sha256(data).hexdigest().encode())
            elif verb == "echo":
                while line := await reader.readline():
                    writer.write(line)
            elif verb == "hang":
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def web(network: PrivateNetwork) -> AsyncIterator[Web]:
    handler = Web((network.web, PORT))
    server = await asyncio.start_server(handler, *handler.address)
    yield handler
    server.close()


@pytest.fixture
async def known(network: PrivateNetwork) -> Directory:
    async with await control_of(network["c0"].control_socket) as controller:
        return await directory.load(controller)


@pytest.fixture
async def link(known: Directory) -> AsyncIterator[Channel]:
    guard = known.guards[0]
    address, port = guard.addresses[0]
    channel = await Channel.connect(str(address), port, guard.identity)
    yield channel
    await channel.close()


async def circuit(link: Channel, known: Directory, *, congestion=None) -> Circuit:
    exits = [r for r in known.relays if r.nickname.startswith("x")]
    guard = next(g for g in known.guards if g.identity == link.identity)
    last = next(r for r in exits if r != guard)
    path = known.choose_path(3, last, guard=guard)
    return await link.new_circuit().build([r.target for r in path], congestion)


async def test_the_directory_is_c_tors_own(known: Directory, network: PrivateNetwork) -> None:
    assert {r.nickname for r in known.relays} == {n.name for n in network.servers}
    assert {r.fingerprint for r in known.relays} == {n.fingerprint for n in network.servers}
    assert known.guards
    assert known.consensus.voting_interval == 20
    assert all(r.congestion_control for r in known.relays)
    relay = known.by_fingerprint(network["r1"].fingerprint)
    assert relay.addresses[0] == (ipaddress.ip_address(network["r1"].address), 9001)
    with pytest.raises(TorError, match="not in the consensus"):
        known.by_fingerprint("0" * 40)


async def test_a_link_proves_the_relay_and_refuses_another(known: Directory) -> None:
    one, two = known.relays[:2]
    host, port = str(one.addresses[0][0]), one.addresses[0][1]
    channel = await Channel.connect(host, port, one.identity)
    assert channel.identity == one.identity
    assert abs(channel.clock_skew) < 60
    await channel.close()
    for wrong in (two.identity, RelayIdentity(one.identity.rsa, two.identity.ed25519)):
        with pytest.raises(RemoteProtocolError, match="another relay"):
            await Channel.connect(host, port, wrong)


async def test_nobody_there_is_a_closed_link(known: Directory, network: PrivateNetwork) -> None:
    with pytest.raises(TorError, match="cannot be reached"):
        await Channel.connect(f"127.{network.net}.9.9", 9, known.relays[0].identity)


@pytest.mark.parametrize("congestion", [None, CC], ids=["fixed windows", "congestion control"])
async def test_ten_megabytes_down_and_up_arrive_unchanged(link, known, web, congestion) -> None:
    way = await circuit(link, known, congestion=congestion)
    assert isinstance(way._layers.hops[-1].window, Vegas) == (congestion is not None)
    down = await way.open_stream(*web.address)
    await down.write(b"get %d\n" % (10 * MEGABYTE))
    assert await down.read_all(11 * MEGABYTE) == blob(10 * MEGABYTE)
    up = await way.open_stream(*web.address)
    await up.write(b"put %d\n" % (10 * MEGABYTE) + blob(10 * MEGABYTE))
    assert await up.read_all(100) == hashlib.sha256(blob(10 * MEGABYTE)).hexdigest().encode()
    way.close()


async def test_many_streams_of_one_circuit_do_not_mix(link, known, web) -> None:
    way = await circuit(link, known, congestion=CC)

    async def fetch(size: int) -> bool:
        stream = await way.open_stream(*web.address)
        await stream.write(b"get %d\n" % size)
        return await stream.read_all(size + 1) == blob(size)

    assert all(await asyncio.gather(*(fetch(100_000 + 997 * n) for n in range(12))))


async def test_data_may_be_sent_before_the_stream_is_connected(link, known, web) -> None:
    way = await circuit(link, known)
    stream = way.begin(*web.address)
    await stream.write(b"get 1000\n")
    assert await stream.read_all(2000) == blob(1000)


async def test_a_stream_closed_early_leaves_the_circuit_in_order(link, known, web) -> None:
    way = await circuit(link, known)
    stream = await way.open_stream(*web.address)
    await stream.write(b"get 3000000\n")
    await stream.read()
    stream.close()
    assert await stream.read() == b""
    other = await way.open_stream(*web.address)
    await other.write(b"get 500000\n")
    assert await other.read_all(600_000) == blob(500_000)
    assert not way.closed.done()


async def test_a_refused_stream_says_why(link, known, network) -> None:
    way = await circuit(link, known)
    with pytest.raises(StreamEnded) as refused:
        await way.open_stream(network.web, 9)
    assert refused.value.reason == EndReason.EXITPOLICY
    with pytest.raises(StreamEnded):
        await way.open_stream(network.web, 1)
    assert not way.closed.done()


async def test_a_name_that_does_not_resolve_is_said_to(link, known) -> None:
    way = await circuit(link, known)
    with pytest.raises(StreamEnded) as refused:
        await way.open_stream("nowhere.invalid", 80)
    assert refused.value.reason == EndReason.RESOLVEFAILED
    answers = await way.resolve("nowhere.invalid")
    assert [(a.address, a.name) for a in answers] == [(None, None)]


async def test_a_name_resolves_at_the_exit(link, known, network) -> None:
    way = await circuit(link, known)
    answers = await way.resolve("web.example.test")
    assert ipaddress.ip_address(network.web) in [a.address for a in answers]


async def test_a_relays_own_directory_answers(link, known) -> None:
    way = await circuit(link, known)
    stream = await way.open_directory()
    await stream.write(b"GET /tor/status-vote/current/consensus-microdesc HTTP/1.0\r\n\r\n")
    answer = await stream.read_all(MEGABYTE)
    assert answer.startswith(b"HTTP/1.0 200 OK")


async def test_a_hop_that_is_not_who_we_think_destroys_the_circuit(link, known) -> None:
    guard = next(g for g in known.guards if g.identity == link.identity)
    middle, other = [r for r in known.relays if r != guard][:2]
    way = await link.new_circuit().build([guard.target])
    liar = middle.target.__class__(other.identity, middle.onion_key, middle.target.specifiers)
    with pytest.raises((CircuitClosed, RemoteProtocolError)):
        await way.extend(liar)
    assert way.closed.done()


async def test_drop_cells_are_swallowed_by_any_hop(link, known, web) -> None:
    way = await circuit(link, known)
    for hop in (0, 1, 2) * 100:
        way.drop(hop)
    stream = await way.open_stream(*web.address)
    await stream.write(b"get 1000\n")
    assert await stream.read_all(2000) == blob(1000)


async def test_a_closed_link_ends_circuits_and_streams(link, known, web) -> None:
    way = await circuit(link, known)
    stream = await way.open_stream(*web.address)
    await stream.write(b"hang\n")
    waiting = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(CircuitClosed):
        await waiting
    with pytest.raises(CircuitClosed):
        await stream.write(b"x")
    assert link.circuits == 0
