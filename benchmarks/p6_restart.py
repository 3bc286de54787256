"""P6: how soon a client that knows the old descriptor is served again after a front's restart.

A private network, a service of ours, one C-tor client that has its descriptor. The service ends and a new
one of the same identity begins; from there the client asks again and again. With the introduction points
that the old one kept; beside it, in turns, with new ones, as every C-tor service begins.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.onion.network import SOCKS_PORT, PrivateNetwork
from tests.onion.serving import Server, control_of, fetch

from benchmarks.figures import Figure, median
from bento.onion import rendezvous
from bento.onion.blinding import OnionIdentity
from bento.onion.handover import Rendezvous
from bento.onion.network import Network
from bento.onion.service import OnionService

ROUNDS = 5
LIMIT_SECONDS = 5.0
_ASK_SECONDS = 0.25
_GIVE_UP_SECONDS = 20.0


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="bento-p6-") as folder:
        network = PrivateNetwork(Path(folder))
        try:
            network.start()
            kept, new = asyncio.run(_series(network))
        finally:
            network.stop()
    what = f"front restarted: its client is served again; longest of {ROUNDS}: {max(kept):.1f} s"
    yield Figure("P6", median(kept), "s", median(new), 1.0, LIMIT_SECONDS, what=what)


async def _series(network: PrivateNetwork) -> tuple[list[float], list[float]]:
    kept: list[float] = []
    new: list[float] = []
    async with await control_of(network["c1"].control_socket) as control:
        front = _Front(Network(control))
        await front.begin(b"")
        await front.service.published()
        client = network["c0"].address, SOCKS_PORT
        for number in range(ROUNDS):
            for row, keeps in ((kept, True), (new, False)):
                await _ask(client, front.address, f"before{number}{keeps}")
                record = front.service.kept_points() if keeps else b""
                await front.service.close()
                began = time.perf_counter()
                await front.begin(record)
                await _ask(client, front.address, f"after{number}{keeps}")
                row.append(time.perf_counter() - began)
                await front.service.published()
        await front.close()
    return kept, new


class _Front:
    """One identity, one service at a time; visitors are joined here."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._identity = OnionIdentity.generate()
        self._tasks: set[asyncio.Task[object]] = set()
        self._server = Server()
        self.address = f"{self._identity.address}.onion"

    async def begin(self, record: bytes) -> None:
        self.service = OnionService(self._identity, self._net, self._join, kept_points=record)
        await self.service.start()

    async def close(self) -> None:
        await self.service.close()
        await self._net.close()

    def _join(self, visitor: Rendezvous) -> None:
        increment = self.service.sendme_increment
        joining = rendezvous.join(self._net, visitor, self._server, sendme_increment=increment)
        task = asyncio.ensure_future(joining)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ask(client: tuple[str, int], address: str, user: str) -> None:
    """Until an answer comes; each time as a new user, whom C-tor gives a new circuit."""
    for number in range(200):
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                if await fetch(client, address, b"name\n", f"{user}.{number}"):
                    return
        except (OSError, EOFError, TimeoutError):
            pass
        await asyncio.sleep(_ASK_SECONDS)
    raise TimeoutError("the service did not come back")
