"""R13's price: the processor time of an idle Cover at its usual rate, v. a function that sends as much by
sleeping between two sends, and neither reads nor keeps to slots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from tests.local_box import local_box

from benchmarks.figures import Figure
from bento.functions.cover import client
from bento.functions.cover.terms import Terms, read_slot

RATE = "25KB/s"
SECONDS = 12.0
SLEEPER = b"""import time
def main(api, pause: float):
    while True:
        api.send(bytes(471))
        time.sleep(pause)
"""


async def idle() -> tuple[float, float, float]:
    """Cores that are used: by the Cover's guest, by its client with the box that relays, by the sleeper."""
    terms = Terms(read_slot(RATE))
    async with local_box(pool=0) as local, local.box as box:
        instance, session = await client.begin(box, terms, streams=False)
        near = client.NearEnd(session, terms)
        running = asyncio.create_task(near.run())
        await asyncio.sleep(1)
        (kept,) = local.instances
        guest, here = kept.sandbox.usage().cpu, time.process_time()
        await asyncio.sleep(SECONDS)
        guest, here = kept.sandbox.usage().cpu - guest, time.process_time() - here
        near.stop()
        await running
        await session.detach()
        await instance.shutdown()
        instance, session = await box.run(SLEEPER, pause=terms.slot / 1e9)
        reading = asyncio.create_task(session.read())
        await asyncio.sleep(1)
        (kept,) = local.instances
        sleeper = kept.sandbox.usage().cpu
        await asyncio.sleep(SECONDS)
        sleeper = kept.sandbox.usage().cpu - sleeper
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await session.detach()
        await instance.shutdown()
    return guest / SECONDS, here / SECONDS, sleeper / SECONDS


def measure() -> Iterator[Figure]:
    guest, here, sleeper = asyncio.run(idle())
    yield Figure(
        *("R13", guest * 100, "% of a core", sleeper * 100, 4.0),
        what=f"an idle cover of {RATE} on the box v. a function that only sends",
    )
    yield Figure(
        *("R13", here * 100, "% of a core", sleeper * 100, 8.0),
        what="the same, its client and the box's relaying together v. a function that only sends",
    )
