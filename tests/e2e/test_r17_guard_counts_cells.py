"""R17, the guard's view as a guard has it: the cells that go up a circuit when a shipped function is installed,
counted by the user's own tor, over the real network."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest
from tests.client.test_r17_guard import CELL, SHIPPED
from tests.waiting import until

from bento.client.delivery import Delivery
from bento.client.network import Network, TorEndpoints
from bento.client.persistence import Tries
from bento.errors import FunctionError, PolicyError
from bento.protocol.padding import DOOR_CLASS, UPLOAD_CLASS
from bento.tor.controller import Controller

pytestmark = pytest.mark.network

PAYLOAD = 509  # bytes of a cell (tor-spec 3); CIRC_BW counts in them
WHOLE = -(-DOOR_CLASS // CELL) + -(-UPLOAD_CLASS // CELL)
# tor sends what it has read; where a read ends inside a cell's worth, one more cell goes up. That is
# chance, a read's and not a function's.
CHANCE = 16


class Cells:
    """Counts what each circuit of a tor sends, by its events of every second."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def hear(self, event) -> None:
        self.sent[event.keywords["ID"]] += int(event.keywords["WRITTEN"])


async def gone_up(user, cells: Cells, number: int, upload: bytes) -> str:
    """The circuit that a function went up on; "" if the box does not take it."""
    async with await user.box(f"box{number % 3}") as box:
        try:
            instance, pipe, parcel = await box._create(upload, None)
        except PolicyError:
            return ""
        circuit = box._route._circuit.id
        with contextlib.suppress(
            FunctionError
        ):  # some need a library that does not travel with them
            await Delivery(instance, parcel, Tries(0)).complete(pipe)
        await until(lambda: cells.sent[circuit] >= WHOLE * PAYLOAD)
        await asyncio.sleep(1.5)  # tor tells each second what a circuit sent
        await instance.shutdown()
    return circuit


async def counted(network) -> dict[str, int]:
    """Cells by shipped function, up to the box's word that it is loaded."""
    endpoints = TorEndpoints(*network.user_tor())
    cells = Cells()
    async with await Controller.connect(endpoints.control) as tor:
        await tor.authenticate()
        await tor.subscribe({"CIRC_BW"}, cells.hear)
        async with await Network.open(endpoints) as user:
            work = (gone_up(user, cells, at, upload) for at, upload in enumerate(SHIPPED.values()))
            circuits = dict(zip(SHIPPED, await asyncio.gather(*work), strict=True))
    return {name: cells.sent[circuit] // PAYLOAD for name, circuit in circuits.items() if circuit}


@pytest.mark.campaign
async def test_r17_every_shipped_function_goes_up_in_as_many_cells(network):
    found = await counted(network)
    assert len(found) >= 4
    assert max(found.values()) - min(found.values()) <= CHANCE, found
    sizes = [len(SHIPPED[name]) // CELL for name in found]
    assert max(sizes) - min(sizes) > 2 * CHANCE, "as they are they would be told apart"
