"""P6: what a front does for each visitor, on one core: cells in, record out.

Real INTRODUCE2 messages, each a cell of its own, sealed in the layers of a three-hop circuit as the
introduction point's relay seals them. Counted is the processor time from the bytes of the link to the
record for the chosen replica: reading cells, three layers, every check of `onion.intro`, the fleet's
decision. Beside it: the one exchange of keys (X25519) that nobody can do without.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator

from tests.onion.test_intro import NOW, SUBCREDENTIALS, Client, point

from benchmarks.figures import Figure
from bento.functions.balancer.fleet import Fleet, HandOver, Load, Options, Start
from bento.onion import cells, relay
from bento.onion.cells import CellReader, Command, RelayRun
from bento.onion.circuit import Circuit
from bento.onion.intro import CookieMemory
from bento.onion.keys import TOR1, cut
from bento.onion.layers import Hop
from bento.onion.relay import RelayCommand

VISITORS = 4000
GOAL_MICROSECONDS = 1000.0  # 1,000 introductions a second
GOAL_RATIO = 10.0
CIRCUIT = cells.CIRCUIT_ID_TOP_BIT | 7


class Link:
    """Sends nothing: an introduction is not acknowledged."""

    blocked = False

    def send(self, data: bytes, *, patient: bool = False) -> None: ...

    def release(self, circuit_id: int) -> None: ...

    async def writable(self) -> None: ...


class _Front:
    """Decides with the real fleet: two replicas, each visitor joined as soon as it is handed over."""

    def __init__(self) -> None:
        self.records = 0
        self._fleet = Fleet(Options(most=2, least=2, limit=VISITORS))
        self._point, self._cookies = point(), CookieMemory()
        for action in self._fleet.tick(0.0):
            assert isinstance(action, Start)
            self._fleet.ready(action.replica, 0.0)

    def introduced(self, data: bytes) -> None:
        visitor = self._point.open(data, SUBCREDENTIALS, self._cookies, NOW)
        for action in self._fleet.arrived(self.records, 0.0):
            assert isinstance(action, HandOver)
            assert visitor.pack()
            self.records += 1
            self._fleet.joined(action.visitor, action.replica)
            self._fleet.report(action.replica, Load(self.records, 1, 0.0, 0.0), 0.0)


def measure() -> Iterator[Figure]:
    ours = asyncio.run(_introductions())
    yield Figure(
        *("P6", ours, "us", _exchanges(), GOAL_RATIO, GOAL_MICROSECONDS),
        what=f"front, an introduction: {1e6 / ours:.0f} a second on one core",
    )


async def _introductions() -> float:
    """Microseconds for each."""
    circuit, reader, arriving = arriving_cells(VISITORS)
    front = _Front()
    circuit.on_message[RelayCommand.INTRODUCE2] = front.introduced

    def all_of_them() -> None:
        for data in arriving:
            for run in reader.feed(data):
                assert isinstance(run, RelayRun)
                circuit.receive_run(run.bodies)

    spent = _microseconds(all_of_them)
    assert front.records == VISITORS
    return spent / VISITORS


def arriving_cells(count: int) -> tuple[Circuit, CellReader, list[bytes]]:
    """A front's circuit to a point, what reads its link, and so many introductions as they come there."""
    circuit, reader = Circuit(Link(), CIRCUIT), CellReader()
    hops = [cut(os.urandom(TOR1.total), TOR1) for _ in range(3)]
    for keys in hops:
        circuit.add_hop(keys)
    reader.feed(cells.pack_versions())
    return circuit, reader, list(_cells([Hop(keys.reversed()) for keys in hops], count))


def _cells(layers: list[Hop], count: int) -> Iterator[bytes]:
    for number in range(count):
        message = Client(cookie=number.to_bytes(20, "big")).message()
        body = relay.pack_body(relay.circuit_message(RelayCommand.INTRODUCE2, message))
        layers[-1].digest_into(body)
        sealed = bytes(body)
        for layer in reversed(layers):
            sealed = layer.encrypt.update(sealed)
        yield cells.pack(CIRCUIT, Command.RELAY, sealed)


def _exchanges() -> float:
    keys, client = point().keys, Client().share.client

    def all_of_them() -> None:
        for _ in range(VISITORS):
            keys.share(client)

    return _microseconds(all_of_them) / VISITORS


def _microseconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return 1e6 * (time.process_time() - began)
