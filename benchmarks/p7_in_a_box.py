"""P7, inside a box: one function serves an onion stream from its sandbox, beside C-tor's own onion service.

A private network; the function is `examples/onion_cells.py` with a whole core, in a real sandbox, its
link through the egress proxy. An unmodified C-tor client fetches the same size of both in turns. Measured
are the rate of one stream, the processor time per MB of the sandbox (of the other: of that tor), and the
sandbox's memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.local_box import LocalBox, local_box
from tests.onion.network import cpu_seconds

from benchmarks.figures import Figure, median
from benchmarks.over_tor import private_network
from bento.box.config import Egress
from bento.egress import OrPorts
from bento.functions import cells
from bento.testnet import Testnet
from bento.tor.controller import Controller
from bento.tor.socks import open_stream

SIZE = 10_000_000
ROUNDS = 5
_EXAMPLE = Path(__file__).parents[1] / "examples" / "onion_cells.py"
_WEB = "127.80.3.1"


@dataclass
class Row:
    """What each round of one kind came to."""

    rates: list[float] = field(default_factory=list)  # MB/s
    costs: list[float] = field(default_factory=list)  # ms of processor time per MB

    async def add(self, socks: str, address: str, clock: Callable[[], float]) -> None:
        before, began = clock(), time.perf_counter()
        await _fetch(socks, address)
        self.rates.append(SIZE / 1e6 / (time.perf_counter() - began))
        self.costs.append(1e3 * (clock() - before) / (SIZE / 1e6))


def measure() -> Iterator[Figure]:
    ours, theirs, memory = asyncio.run(_series())
    what = f"onion service in a sandbox v. C-tor's, one stream; {memory / 2**20:.0f} MiB of memory"
    yield Figure(
        *("P7", median(ours.rates), "MB/s", median(theirs.rates), 0.8), at_least=True, what=what
    )
    what = "onion service in a sandbox: CPU per MB beside C-tor's"
    yield Figure("P7", median(ours.costs), "ms/MB", median(theirs.costs), 1.3, what=what)


async def _series() -> tuple[Row, Row, int]:
    ours, theirs, memory = Row(), Row(), 0
    async with (
        private_network() as (testnet, status),
        _c_tors(testnet) as (plain, pid),
        _box(testnet) as local,
    ):
        source = _EXAMPLE.read_text().replace("# cpu = 0.5", "# cpu = 1")
        _, session = await local.box.run(cells.carrying(source))
        async for piece in session:
            own = piece.decode().strip().removeprefix("http://").rstrip("/")
            break
        (instance,) = local.instances
        await _fetch(status.socks, own)
        await _fetch(status.socks, plain)
        for _ in range(ROUNDS):
            await ours.add(status.socks, own, lambda: instance.sandbox.usage().cpu)
            memory = max(memory, instance.sandbox.usage().memory)
            await theirs.add(status.socks, plain, lambda: cpu_seconds(pid))
    return ours, theirs, memory


@asynccontextmanager
async def _box(testnet: Testnet) -> AsyncIterator[LocalBox]:
    """A box without a relay of its own; it has the list of ORPorts from the functions' tor."""
    control = f"unix:{testnet.run}/box1-functions.control"
    async with await Controller.connect(control) as tor:
        await tor.authenticate()
        listed = (await tor.get_info("ns/all"))["ns/all"]
    relays = listed.split()[6].rsplit(".", 2)[0] + ".0.0/16"
    endpoints = {
        "functions_control": control,
        "functions_socks": control.replace(".control", ".socks"),
        "allow": ("directory", "guards"),
    }
    egress = Egress(relays=True, test_relays=relays)
    async with local_box(tor=endpoints, egress=egress) as local:
        local.guard.listed(OrPorts.parse(listed))
        yield local


@asynccontextmanager
async def _c_tors(testnet: Testnet) -> AsyncIterator[tuple[str, int]]:
    """The address of an onion service of C-tor's own, and that tor's process."""
    server = await asyncio.start_server(_serve, _WEB, 0)
    port = server.sockets[0].getsockname()[1]
    async with await Controller.connect(f"unix:{testnet.run}/box2-functions.control") as tor:
        await tor.authenticate()
        pid = int((await tor.get_info("process/pid"))["process/pid"])
        reply = await tor.command(f"ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port=80,{_WEB}:{port}")
        name = next(
            line.text.partition("=")[2] for line in reply.lines if line.text.startswith("Serv")
        )
        yield f"{name}.onion", pid
    server.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))
    await writer.drain()
    writer.close()


async def _fetch(socks: str, address: str) -> None:
    reader, writer = await open_stream(socks, address, 80)
    writer.write(b"GET /%d HTTP/1.0\r\n\r\n" % SIZE)
    size = 0
    while data := await reader.read(1 << 18):
        size += len(data)
    writer.close()
    assert size > SIZE
