"""P7: CPU time per megabyte that `onion/` needs, beside C-tor's client on the very same path.

A private network; one file of 30 MB fetched in turns over the same three relays, by our library and
by a C-tor whose circuit and stream are set by its control port. Counted is the CPU time of the
client alone: this process, or that tor. A second figure does the same for an onion service that
sends to a C-tor client: a replica of ours (a process of its own), and C-tor's own service.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.onion.network import SOCKS_PORT, Node, PrivateNetwork, cpu_seconds
from tests.onion.serving import control_of, socks

from benchmarks.figures import Figure
from bento.errors import TorError
from bento.onion.blinding import OnionIdentity
from bento.onion.channel import Channel
from bento.onion.congestion import PathKind, VegasParams
from bento.onion.consensus import Relay
from bento.onion.directory import Directory, load
from bento.onion.handover import Rendezvous
from bento.onion.network import Network
from bento.onion.service import OnionService
from bento.tor.control_codec import Event
from bento.tor.controller import Controller

SIZE = 30_000_000
SERVICE_SIZE = 10_000_000
ROUNDS = 5
GOAL = 1.3
_PORT = 8097


def measure() -> Iterator[Figure]:
    kept = os.environ.get("BENTO_ONION_NETWORK")
    with tempfile.TemporaryDirectory(prefix="bento-p7-") as folder:
        network = PrivateNetwork(Path(kept or folder))
        web = multiprocessing.get_context("spawn").Process(
            target=_web, args=(network.web,), daemon=True
        )
        web.start()
        try:
            _wait_for(network.web)
            if not kept:
                network.start()
            yield from asyncio.run(_figures(network))
        finally:
            web.terminate()
            web.join()
            if not kept:
                network.stop()


async def _figures(network: PrivateNetwork) -> list[Figure]:
    async with await control_of(network["c0"].control_socket) as control:
        known = await load(control)
        guard = known.guards[0]
        last = next(r for r in known.relays if r.nickname.startswith("x") and r != guard)
        path = known.choose_path(3, last, guard=guard)
        client = await _compare(
            lambda: _ours(network, path, known),
            lambda: _c_tors(network, path, control),
            SIZE,
        )
    return [
        _figure("exit stream, receiving", client),
        _figure("onion service, sending", await _services(network)),
    ]


def _figure(what: str, milliseconds: tuple[float, float]) -> Figure:
    ours, theirs = milliseconds
    return Figure("P7", ours, "ms/MB", theirs, GOAL, what=f"{what}: CPU per MB beside C-tor's")


async def _compare(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]], size: int
) -> tuple[float, float]:
    """Medians of CPU milliseconds per megabyte, taken in turns."""
    rows: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for row, run in zip(rows, (ours, theirs), strict=True):
            row.append(1000 * await run() / (size / 1e6))
    return statistics.median(rows[0]), statistics.median(rows[1])


# -- the client side


async def _ours(network: PrivateNetwork, path: list[Relay], known: Directory) -> float:
    address, port = path[0].addresses[0]
    began = time.process_time()
    link = await Channel.connect(str(address), port, path[0].identity)
    vegas = VegasParams.from_consensus(known.consensus.parameters, PathKind.EXIT)
    circuit = await link.new_circuit().build([r.target for r in path], vegas)
    stream = await circuit.open_stream(network.web, _PORT)
    await stream.write(b"get %d\n" % SIZE)
    count = 0
    while data := await stream.read():
        count += len(data)
    await link.close()
    assert count == SIZE
    return time.process_time() - began


async def _c_tors(network: PrivateNetwork, path: list[Relay], control: Controller) -> float:
    """One fetch; again when tor gave the circuit up on a busy machine."""
    for _ in range(5):
        with suppress(ConnectionError):
            return await _c_tors_once(network, path, control)
    raise TimeoutError("C-tor's circuits do not last")


async def _c_tors_once(network: PrivateNetwork, path: list[Relay], control: Controller) -> float:
    node = network["c0"]
    began = node.cpu_seconds()
    async with _circuit(control, path) as circuit_id:
        tasks: set[asyncio.Task[None]] = set()

        async def attach(stream_id: str) -> None:
            try:
                await control.command(f"ATTACHSTREAM {stream_id} {circuit_id}")
            except TorError:
                await control.command(f"CLOSESTREAM {stream_id} 1")

        def on_stream(event: Event) -> None:
            if event.positional[1] == "NEW" and not tasks:
                tasks.add(asyncio.ensure_future(attach(event.positional[0])))

        heard = await control.subscribe({"STREAM"}, on_stream)
        await control.set_conf({"__LeaveStreamsUnattached": "1"})
        try:
            count = await _drain(node, network.web, _PORT, SIZE)
        finally:
            await control.set_conf({"__LeaveStreamsUnattached": "0"})
            await heard.cancel()
    assert count == SIZE
    return node.cpu_seconds() - began


async def _drain(proxy: Node, host: str, port: int, size: int, user: str = "p7") -> int:
    reader, writer = await socks((proxy.address, SOCKS_PORT), host, port, user)
    writer.write(b"get %d\n" % size)
    count = 0
    while data := await reader.read(1 << 18):
        count += len(data)
    writer.close()
    return count


@asynccontextmanager
async def _circuit(control: Controller, path: list[Relay]) -> AsyncIterator[str]:
    built: set[str] = set()
    news = asyncio.Event()

    def on_circuit(event: Event) -> None:
        if event.positional[1] == "BUILT":
            built.add(event.positional[0])
            news.set()

    heard = await control.subscribe({"CIRC"}, on_circuit)
    names = ",".join("$" + relay.fingerprint for relay in path)
    reply = await control.command(f"EXTENDCIRCUIT 0 {names}")
    circuit_id = reply.text.split()[-1]
    while circuit_id not in built:
        news.clear()
        await news.wait()
    try:
        yield circuit_id
    finally:
        await heard.cancel()
        with suppress(TorError):  # tor may have closed it already
            await control.command(f"CLOSECIRCUIT {circuit_id}")


# -- the service side


async def _services(network: PrivateNetwork) -> tuple[float, float]:
    client, node = network["c0"], network["c1"]
    replica = _Replica(node)
    async with await control_of(node.control_socket) as control:
        net = Network(control)
        service = OnionService(OnionIdentity.generate(), net, replica.take)
        await service.start()
        await service.published()
        reply = await control.command(
            f"ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port=80,{network.web}:{_PORT}"
        )
        texts = [line.text for line in reply.lines]
        theirs = next(t.partition("=")[2] for t in texts if t.startswith("ServiceID="))
        try:
            await _reachable(client, theirs)
            await _reachable(client, service.address)

            async def ours_once() -> float:
                return await _one(client, service.address, replica.cpu_seconds)

            async def theirs_once() -> float:
                return await _one(client, theirs, node.cpu_seconds)

            return await _compare(ours_once, theirs_once, SERVICE_SIZE)
        finally:
            await control.command(f"DEL_ONION {theirs}")
            await service.close()
            await net.close()
            await replica.close()


class _Replica:
    """A process of ours that serves the client; C-tor reuses its rendezvous circuit."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self, record: Rendezvous) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._start(record))

    async def _start(self, record: Rendezvous) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.onion.serving"),
            *(str(self._node.control_socket), "31"),
            stdin=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(record.pack().hex().encode() + b"\n")

    def cpu_seconds(self) -> float:
        assert self._process is not None
        return cpu_seconds(self._process.pid)

    async def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


async def _one(client: Node, address: str, clock: Callable[[], float]) -> float:
    began = clock()
    count = await _drain(client, f"{address}.onion", 80, SERVICE_SIZE)
    assert count == SERVICE_SIZE
    return clock() - began


async def _reachable(client: Node, address: str) -> None:
    for _ in range(60):
        try:
            await _drain(client, f"{address}.onion", 80, 1000)
            return
        except ConnectionError:
            await asyncio.sleep(1)
    raise TimeoutError("C-tor's onion service cannot be reached")


def _wait_for(address: str) -> None:
    """Until the web server listens."""
    for _ in range(200):
        try:
            with socket.create_connection((address, _PORT), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the web server of the benchmark did not start")


def _web(address: str) -> None:
    """Serves `get N` with N zero bytes, in a process of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int(((await reader.readline()) or b"get 0").split()[1])
        block = bytes(1 << 16)
        try:
            while size > 0:
                writer.write(block[:size])
                size -= len(block)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, address, _PORT) as server:
            await server.serve_forever()

    asyncio.run(serve())
