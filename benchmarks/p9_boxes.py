"""P9 on whole boxes: bulk out of a conclave v. out of a plain function over the same circuit, the memory
of an idle conclave, and what attestation adds to a start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from tests.box.test_conclave import trust_in
from tests.local_box import local_box

from benchmarks.figures import Figure, median
from benchmarks.over_tor import first_box, private_network
from benchmarks.p2_idle import IDLE, MIB, private_bytes
from benchmarks.p4_bulk import BULK, SIZE, bento_rate
from bento import face
from bento.sandbox import image_named
from bento.sandbox.tree import descendants

ROUNDS = 5
IDLE_CONCLAVES = 5
STARTS = 15
HELLO = b"def main(api):\n    api.send(b'hello')\n"


async def over_tor() -> tuple[list[float], list[float]]:
    """MB/s (out of a conclave, out of a plain function), in turns."""
    rates: tuple[list[float], list[float]] = [], []
    async with private_network() as (testnet, _), first_box(testnet) as (box, _):
        closed = await box.install(BULK, face.trust(allow_emulated=True))
        plain = await box.install(BULK)
        for _ in range(ROUNDS):
            for instance, series in zip((closed, plain), rates, strict=True):
                series.append(await bento_rate(instance))
        await closed.shutdown()
        await plain.shutdown()
    return rates


async def on_one_box() -> tuple[list[int], list[float], list[float]]:
    """(private bytes of idle conclaves, ms to the first byte of a new conclave's answer, of a plain
    function's). Both come out of a full pool."""
    async with local_box(attester="emulated", pool=1) as local:
        trust, _ = trust_in(local)
        starts: tuple[list[float], list[float]] = [], []
        for _ in range(STARTS):
            for chosen, image, series in zip(
                (trust, None), ("python-conclave", "python"), starts, strict=True
            ):
                while not local.sandboxes.ready(image):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                began = time.perf_counter()
                instance, session = await local.box.run(HELLO, trust=chosen)
                await anext(aiter(session))
                series.append((time.perf_counter() - began) * 1e3)
                await session.detach()
                await instance.shutdown()
        for _ in range(IDLE_CONCLAVES):
            _, session = await local.box.run(IDLE, trust=trust)
            await session.started()
            await session.detach()
        await asyncio.sleep(1)
        sizes = [sum(map(private_bytes, descendants(one.sandbox.pid))) for one in local.instances]
    return sizes, *starts


def measure() -> Iterator[Figure]:
    sizes, closed, plain = asyncio.run(on_one_box())
    counted = image_named("python-conclave").overhead / MIB
    what = "private memory of an idle conclave v. what its image counts for itself"
    yield Figure("P9", median(sizes) / MIB, "MiB", counted, 1.0, what=what)
    what = "new function's first answer byte at the box: in a conclave v. plain, pool hit"
    yield Figure("P9", median(closed), "ms", median(plain), 10.0, what=what)
    attested, open_ = asyncio.run(over_tor())
    what = f"bulk of {SIZE >> 20} MiB over Tor: out of a conclave v. out of a plain function"
    yield Figure("P9", median(attested), "MB/s", median(open_), 0.9, at_least=True, what=what)
