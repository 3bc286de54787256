"""Onion services of ours, reached by an unmodified C-tor client over unmodified relays."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import stem
import stem.control
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.onion.network import SOCKS_PORT, PrivateNetwork
from tests.onion.serving import Server, blob, control_of, fetch, socks
from tests.waiting import until

from bento.onion import descriptor_reader, directory, hsdir, rendezvous
from bento.onion.blinding import OnionIdentity, blind_public, blinding_factor, public_from_address
from bento.onion.blinding import subcredential as subcredential_of
from bento.onion.circuit import Circuit
from bento.onion.congestion import Vegas
from bento.onion.crypto import x25519_public
from bento.onion.handover import Rendezvous
from bento.onion.network import Network
from bento.onion.service import OnionService, ServiceOptions

pytestmark = pytest.mark.network
ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000


class Here:
    """Joins each client in this process and remembers the circuits."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.server = Server("here")
        self.service: OnionService | None = None
        self.circuits: list[Circuit] = []
        self.clients: list[Rendezvous] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __call__(self, client: Rendezvous) -> None:
        self.clients.append(client)
        self._tasks.append(asyncio.ensure_future(self._join(client)))

    async def _join(self, client: Rendezvous) -> None:
        assert self.service is not None
        increment = self.service.sendme_increment
        self.circuits.append(
            await rendezvous.join(self.net, client, self.server, sendme_increment=increment)
        )


@pytest.fixture
async def here(network: PrivateNetwork) -> AsyncIterator[Here]:
    async with await control_of(network["c1"].control_socket) as controller:
        net = Network(controller)
        made = Here(net)
        yield made
        if made.service is not None:
            await made.service.close()
        await net.close()


async def start(
    here: Here, options: ServiceOptions | None = None, on_client: Callable | None = None, **more
) -> str:
    here.service = OnionService(
        OnionIdentity.generate(), here.net, on_client or here, options, **more
    )
    await here.service.start()
    async with asyncio.timeout(120):
        await here.service.published()
    return here.service.address + ".onion"


@pytest.fixture
def proxy(network: PrivateNetwork) -> tuple[str, int]:
    return network["c0"].address, SOCKS_PORT


@pytest.mark.parametrize("congestion_control", [True, False], ids=["vegas", "fixed windows"])
async def test_a_c_tor_client_gets_and_sends_ten_megabytes(here, proxy, congestion_control) -> None:
    address = await start(here, ServiceOptions(congestion_control=congestion_control))
    assert await fetch(proxy, address, b"get %d\n" % (10 * MEGABYTE)) == blob(10 * MEGABYTE)
    (circuit,) = here.circuits
    window = circuit._layers.hops[-1].window
    assert isinstance(window, Vegas) == congestion_control
    data = blob(10 * MEGABYTE)
    reader, writer = await socks(proxy, address, 80)
    writer.write(b"put %d\n" % len(data) + data)
    assert await reader.read() == hashlib.sha256(data).hexdigest().encode()
    writer.close()
    assert len(here.circuits) == 1


async def test_all_uploads_reach_their_hsdirs_in_both_periods(here, network) -> None:
    await start(here)
    known = await here.net.directory()
    wanted = len([r for r in known.relays if "HSDir" in r.flags])
    counters = here.service.counters
    assert counters.failed_uploads == 0
    assert counters.uploads >= 2 * min(wanted, 8)


async def test_many_clients_at_once_each_get_their_own_bytes(here, proxy) -> None:
    address = await start(here)
    sizes = [50_000 + 1013 * n for n in range(8)]
    got = await asyncio.gather(
        *(fetch(proxy, address, b"get %d\n" % s, user=f"u{s}") for s in sizes)
    )
    assert got == [blob(s) for s in sizes]
    assert len(here.clients) == len(sizes)


async def test_a_port_that_is_not_served_is_refused(here, proxy) -> None:
    address = await start(here)
    with pytest.raises(ConnectionError):
        await socks(proxy, address, 81)
    assert await fetch(proxy, address, b"name\n") == b"here"


async def test_a_client_that_hangs_up_early_harms_nobody(here, proxy) -> None:
    address = await start(here)
    reader, writer = await socks(proxy, address, 80)
    writer.write(b"get 5000000\n")
    await reader.readexactly(1000)
    writer.close()
    assert await fetch(proxy, address, b"get 300000\n") == blob(300_000)


async def test_another_process_finishes_the_handshake_and_serves(here, network, proxy) -> None:
    replicas: list[asyncio.subprocess.Process] = []

    async def hand(client: Rendezvous) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.onion.serving",
            str(network["c1"].control_socket),
            "31",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin"},
        )
        replicas.append(process)
        process.stdin.write(client.pack().hex().encode() + b"\n")
        assert await process.stdout.readline() == b"joined\n"

    tasks = []
    address = await start(
        here, on_client=lambda client: tasks.append(asyncio.ensure_future(hand(client)))
    )
    try:
        assert await fetch(proxy, address, b"name\n") == b"replica"
        assert await fetch(proxy, address, b"get 2000000\n") == blob(2_000_000)
        assert len(replicas) == 1
        assert here.circuits == []
    finally:
        for process in replicas:
            process.kill()
            await process.wait()


async def test_only_authorized_clients_come_in(here, network, proxy) -> None:
    key = X25519PrivateKey.generate()
    address = await start(here, ServiceOptions(clients=[x25519_public(key)]))
    with pytest.raises(ConnectionError):
        await socks(proxy, address, 80, "stranger")
    private = base64.b64encode(key.private_bytes_raw()).decode()
    with network["c0"].controller() as controller:
        reply = controller.msg(f"ONION_CLIENT_AUTH_ADD {address[:-6]} x25519:{private}")
        assert reply.raw_content().startswith("25")
        assert await fetch(proxy, address, b"name\n", "friend") == b"here"


async def test_a_point_whose_circuit_breaks_stands_again_and_clients_need_no_new_descriptor(
    here, proxy
) -> None:
    address = await start(here)
    service = here.service
    assert await fetch(proxy, address, b"name\n", "first") == b"here"
    uploads, before = service.counters.uploads, set(service.points)
    for standing in list(service._standing):
        standing.circuit.close()
    await until(lambda: set(service.points) == before)
    assert await fetch(proxy, address, b"name\n", "second") == b"here"
    assert (service.counters.uploads, service.counters.points_replaced) == (uploads, 0)


async def test_a_spent_point_is_replaced_and_clients_find_the_new_one(here, proxy) -> None:
    address = await start(here)
    service = here.service
    before, uploads = set(service.points), service.counters.uploads
    for standing in list(service._standing):
        standing.point.left = 0
        standing.circuit.close()
    await until(lambda: len(service.points) == 3 and not before & set(service.points))
    await until(lambda: service.counters.uploads > uploads)
    assert await fetch(proxy, address, b"name\n", "new") == b"here"
    assert service.counters.points_replaced == 3


async def test_a_client_comes_back_to_a_restarted_service_by_the_descriptor_it_knows(
    here, network, proxy
) -> None:
    address = await start(here)
    first = here.service
    assert await fetch(proxy, address, b"name\n", "before") == b"here"
    record, keys = first.kept_points(), {p.keys.auth_key for p in first.points}
    await first.close()
    here.service = OnionService(first._identity, here.net, here, kept_points=record)
    await here.service.start()
    await until(lambda: len(here.service.points) == 3)
    assert {p.keys.auth_key for p in here.service.points} == keys
    asked: list[object] = []
    with network["c0"].controller() as client:
        client.add_event_listener(asked.append, "HS_DESC")
        assert await fetch(proxy, address, b"name\n", "after") == b"here"
    assert not [event for event in asked if event.action == "REQUESTED"]


async def test_drop_cells_to_the_client_are_swallowed_by_c_tor(here, proxy) -> None:
    address = await start(here)
    assert await fetch(proxy, address, b"name\n") == b"here"
    (circuit,) = here.circuits
    for _ in range(300):
        circuit.drop(circuit.last_hop)
    assert await fetch(proxy, address, b"get 100000\n") == blob(100_000)
    assert not circuit.closed.done()


async def test_our_reader_opens_the_descriptor_of_a_c_tor_service(network, known_port) -> None:
    """A descriptor that C-tor made, fetched by C-tor: every check of ours passes on it."""
    node = network["c1"]
    with node.controller() as controller:
        service = controller.create_ephemeral_hidden_service(
            {80: known_port}, await_publication=True
        )
        with network["c0"].controller() as client:
            text = await fetched(client, service.service_id)
        public = public_from_address(service.service_id)
        async with await control_of(node.control_socket) as ours:
            known = await directory.load(ours)
        for slot in hsdir.slots(known.consensus):
            blinded = blind_public(public, blinding_factor(public, slot.period))
            secret = subcredential_of(public, blinded)
            try:
                seen = descriptor_reader.read(text, blinded, secret, time.time())
            except Exception as error:
                failure = error
            else:
                break
        else:
            raise failure
    assert len(seen.points) == 3
    assert {p.relay.identity.rsa for p in seen.points} <= {r.identity.rsa for r in known.relays}


async def fetched(client: stem.control.Controller, address: str) -> bytes:
    """A descriptor through C-tor; its first answer may come before the last upload."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return client.get_hidden_service_descriptor(address).get_bytes()
        except stem.DescriptorUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(1)


@pytest.fixture
def known_port() -> int:
    return 8093
