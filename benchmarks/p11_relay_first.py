"""P11: what functions take from the relay beside them: its bulk throughput with 20 idle functions on the
box, and with all of them burning the processor, against the same relay with none.

One private network, one circuit through the box's relay to a plain server. A shared machine drifts, so the
three states are taken in turns, a few short transfers each, and a turn's figure is compared with what
the relay did without functions just before and just after. Both ends of the circuit run on the same
cores: what is lost at saturation is lost by them as well.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from benchmarks.figures import Figure, median
from benchmarks.over_tor import Plain, first_box, private_network
from bento.client.box import Box
from bento.client.instance import Instance
from bento.client.session import Session
from bento.tor.circuits import Circuit

TURNS = 8
TRANSFERS = 3  # of each state in a turn
SIZE = 4 << 20
FUNCTIONS = 20
FUNCTION = b"""
# /// bento
# cpu = 1.0
# ///
def main(api):
    api.recv()
    while not api.poll(0):
        for _ in range(1 << 18):
            pass
    api.recv()
"""


@asynccontextmanager
async def functions(box: Box) -> AsyncIterator[list[Session]]:
    """The sessions of FUNCTIONS idle functions; a message wakes one to burn, another ends it."""
    running: list[tuple[Instance, Session]] = []
    try:
        for _ in range(FUNCTIONS):
            running.append(await box.run(FUNCTION))
        for _, session in running:
            await session.started()
        await asyncio.sleep(1)  # starts are hurried for half a second
        yield [session for _, session in running]
    finally:
        await asyncio.gather(*(instance.shutdown() for instance, _ in running))
        await asyncio.sleep(0.7)  # so are ends


async def turns(box: Box, circuit: Circuit, server: Plain) -> dict[str, list[float]]:
    async def some() -> float:
        return statistics.fmean([await server.rate(circuit) for _ in range(TRANSFERS)])

    taken: dict[str, list[float]] = {"none": [await some()], "idle": [], "busy": []}
    for _ in range(TURNS):
        async with functions(box) as sessions:
            taken["idle"].append(await some())
            for session in sessions:
                await session.send(b"burn")
            await asyncio.sleep(0.3)
            taken["busy"].append(await some())
        taken["none"].append(await some())
    return taken


async def series() -> dict[str, list[float]]:
    """MB/s by state, a mean a turn; "none" has one more: what stands before and after each turn."""
    async with (
        private_network() as (testnet, _),
        Plain.serving(SIZE) as server,
        first_box(testnet) as (box, circuit),
    ):
        await server.rate(circuit)  # the circuit's window opens
        return await turns(box, circuit, server)


def spread(ratios: list[float]) -> str:
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"of {len(ratios)} turns, quartiles {low:.3f} to {high:.3f}"


def measure() -> Iterator[Figure]:
    taken = asyncio.run(series())
    for name, goal, what in (
        ("idle", 0.99, f"with {FUNCTIONS} idle functions"),
        ("busy", 0.97, "with all of them burning"),
    ):
        beside = [statistics.fmean(pair) for pair in itertools.pairwise(taken["none"])]
        ratios = [one / none for one, none in zip(taken[name], beside, strict=True)]
        text = f"the relay's throughput {what} v. without; {spread(ratios)}"
        reference = median(taken["none"])
        yield Figure(
            *("P11", median(ratios) * reference, "MB/s", reference, goal),
            at_least=True,
            what=text,
        )
