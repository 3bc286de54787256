"""P4: bulk from a function to its client over Tor v. plain TCP over the same circuit, from the first
byte to the last, and the processor time of the box per MB v. its relay's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, median
from benchmarks.over_tor import Plain, first_box, private_network

SIZE = 32 << 20
ROUNDS = 7
BULK = b"def main(api, n):\n    b = bytes(1 << 20)\n    for _ in range(n >> 20): api.send(b)\n"
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def bento_rate(instance) -> float:
    session = await instance.invoke(SIZE)
    size, began = 0, 0.0
    async for piece in session:
        began = began or time.perf_counter()
        size += len(piece)
        if size == SIZE:
            rate = SIZE / 1e6 / (time.perf_counter() - began)
    return rate


async def series() -> tuple[list[float], list[float], float, float]:
    """(bento MB/s, plain MB/s, bentod's CPU s, its relay's CPU s during bento's transfers)."""
    ours, plain, box_cpu, relay_cpu = [], [], 0.0, 0.0
    async with private_network() as (testnet, status), Plain.serving(SIZE) as server:
        entry = next(box for box in status.boxes if box.name == "box0")
        async with first_box(testnet) as (box, circuit):
            instance = await box.install(BULK)
            for _ in range(ROUNDS):
                plain.append(await server.rate(circuit))
                before = cpu_seconds(entry.bentod_pid), cpu_seconds(entry.tor_pid)
                ours.append(await bento_rate(instance))
                box_cpu += cpu_seconds(entry.bentod_pid) - before[0]
                relay_cpu += cpu_seconds(entry.tor_pid) - before[1]
            await instance.shutdown()
    return ours, plain, box_cpu, relay_cpu


def measure() -> Iterator[Figure]:
    ours, plain, box_cpu, relay_cpu = asyncio.run(series())
    what = "function to client v. plain TCP over the same circuit"
    yield Figure("P4", median(ours), "MB/s", median(plain), 0.95, at_least=True, what=what)
    per_mb = 1e3 / (ROUNDS * SIZE / 1e6)
    what = "bentod's processor time v. its relay's"
    yield Figure("P4", box_cpu * per_mb, "ms/MB", relay_cpu * per_mb, 0.1, what=what)
