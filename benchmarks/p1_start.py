"""P1: from a client's Create to the first byte of the function's answer, at the box, full sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from tests.local_box import local_box

from benchmarks.figures import Figure, median, spawn_ms

ROUNDS = 41
HELLO = b"def main(api):\n    api.send(b'x')\n"
PYTHON = ("/usr/bin/python3", "-I", "-S", "-c", "print('x', flush=True)")
BWRAP = (
    *("bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)


async def first_byte_ms(box) -> float:
    began = time.perf_counter()
    instance, session = await box.run(HELLO)
    async for _ in session:
        break
    taken = (time.perf_counter() - began) * 1e3
    await session.detach()
    await instance.shutdown()
    return taken


async def series(pool: int) -> tuple[list[float], list[float], list[float]]:
    """(ours, plain python, bare bubblewrap), taken in turns."""
    ours, plain, bare = [], [], []
    async with local_box(pool=pool) as local:
        for _ in range(ROUNDS):
            while pool and local.sandboxes.ready("python") < pool:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            ours.append(await first_byte_ms(local.box))
            plain.append(await asyncio.to_thread(spawn_ms, PYTHON))
            bare.append(await asyncio.to_thread(spawn_ms, (*BWRAP, *PYTHON)))
    return ours, plain, bare


def measure() -> Iterator[Figure]:
    hit, plain, _ = asyncio.run(series(pool=2))
    yield Figure(
        *("P1", median(hit), "ms", median(plain), 0.5),
        limit=5.0,
        what="pool hit v. plain python3 -I -S",
    )
    miss, _, bare = asyncio.run(series(pool=0))
    yield Figure(
        *("P1", median(miss), "ms", median(bare), 1.5), what="pool miss v. bare bwrap python3"
    )
