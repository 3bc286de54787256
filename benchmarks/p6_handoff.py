"""P6: from an INTRODUCE2's cell at the front to the record at the replica's end, by the clock.

The whole of a front is in it: the three layers of the circuit, every check of `onion.intro`, the fleet, the
link's queue, the event loop, a socket. Only the networks on both sides are missing: the link's TLS, and the
session's way over Tor to the replica. One visitor after another.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import cast

from tests.onion.balancing import SocketChannel
from tests.onion.test_intro import NOW, SUBCREDENTIALS, point

from benchmarks.figures import Figure, median
from benchmarks.p6_introductions import arriving_cells
from bento.functions.balancer.fleet import Options
from bento.functions.balancer.front import Content, Front
from bento.functions.balancer.messages import TO_REPLICA, Frames, Join, Joined, Ready, encode
from bento.functions.balancer.site import FILES
from bento.onion.blinding import OnionIdentity
from bento.onion.cells import RelayRun
from bento.onion.congestion import PathKind, VegasParams
from bento.onion.intro import CookieMemory
from bento.onion.network import Network
from bento.onion.relay import RelayCommand

VISITORS = 1000
GOAL_MILLISECONDS = 1.0


def measure() -> Iterator[Figure]:
    took = sorted(asyncio.run(_hand_offs()))
    most = took[len(took) * 99 // 100]
    what = f"a hand-off, cell in to record out, by the clock; 99 of 100 within {most:.2f} ms"
    yield Figure("P6", median(took), "ms", GOAL_MILLISECONDS, 1.0, what=what)


class _NoNetwork:
    """Of `Network`: the front's points are not begun."""

    def vegas(self, kind: PathKind) -> VegasParams:
        return VegasParams.from_consensus({}, kind)


async def _hand_offs() -> list[float]:
    """Milliseconds of each."""
    ours, theirs = socket.socketpair()
    replica = await SocketChannel.over(theirs)

    async def start(number: int) -> SocketChannel:
        return await SocketChannel.over(ours)

    network = cast(Network, _NoNetwork())
    options = Options(least=1, most=1, limit=VISITORS)
    front = Front(OnionIdentity.generate(), network, start, Content(FILES, b""), options)
    ticking = asyncio.ensure_future(front._tick())
    await replica.write(encode(Ready()))
    while front.describe()["replicas"][:1] == [] or not _is_ready(front):
        await asyncio.sleep(0.01)
    try:
        return await _series(front, replica)
    finally:
        ticking.cancel()
        await replica.close()


def _is_ready(front: Front) -> bool:
    return bool(front.describe()["replicas"][0]["state"] == "ready")


async def _series(front: Front, replica: SocketChannel) -> list[float]:
    circuit, reader, arriving = arriving_cells(VISITORS)
    at, cookies = point(), CookieMemory()
    circuit.on_message[RelayCommand.INTRODUCE2] = lambda data: front.on_client(
        at.open(data, SUBCREDENTIALS, cookies, NOW)
    )
    said = Frames(TO_REPLICA)
    took = []
    for cell in arriving:
        began = time.perf_counter()
        for run in reader.feed(cell):
            assert isinstance(run, RelayRun)
            circuit.receive_run(run.bodies)
        while not (joins := [m for m in said.feed(await replica.read()) if isinstance(m, Join)]):
            pass
        took.append(1000 * (time.perf_counter() - began))
        await replica.write(encode(Joined(joins[0].visitor)))
        await asyncio.sleep(0)
    return took
