"""P2: what an installed function costs while nobody calls it: private memory, and processor time.

The reference for memory is a bare `python3 -I -S` that waits; the goal is on the value itself."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.local_box import local_box

from benchmarks.figures import Figure, median
from bento.box.config import Admission
from bento.sandbox.tree import descendants

INSTANCES = 100
SECONDS = 10
IDLE = b"def main(api):\n    api.recv()\n"
MIB = 1 << 20


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def bare_python() -> int:
    with subprocess.Popen(
        ("/usr/bin/python3", "-I", "-S", "-c", "print(flush=True); input()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        size = private_bytes(process.pid)
        process.kill()
    return size


async def idle() -> tuple[list[int], float]:
    """(private bytes of each instance, cores that all of it used)."""
    async with local_box(Admission(priced=False), pool=0, instances=INSTANCES) as local:
        sessions = []
        for _ in range(INSTANCES):
            _, session = await local.box.run(IDLE)
            await session.started()
            sessions.append(session)
        await asyncio.sleep(2)
        kept = list(local.instances)
        sizes = [sum(map(private_bytes, descendants(one.sandbox.pid))) for one in kept]
        cpu = time.process_time() + sum(one.sandbox.usage().cpu for one in kept)
        await asyncio.sleep(SECONDS)
        cpu = time.process_time() + sum(one.sandbox.usage().cpu for one in kept) - cpu
        for session in sessions:
            await session.detach()
    return sizes, cpu / SECONDS


def measure() -> Iterator[Figure]:
    sizes, cores = asyncio.run(idle())
    yield Figure(
        *("P2", median(sizes) / MIB, "MiB", bare_python() / MIB, 3.0),
        limit=6.0,
        what="private memory of an idle installed function v. bare python3 -I -S",
    )
    yield Figure(
        *("P2", cores * 100, "% of a core", 61.0 * INSTANCES, 1.0),
        limit=1.0,
        what=f"{INSTANCES} attached idle functions with their box v. the first prototype's 61 % for one",
    )
