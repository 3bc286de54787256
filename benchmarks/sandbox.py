"""`python -m benchmarks.sandbox`: what a sandbox costs by itself, in time and memory, without a box.

Each line is a Figure beside its reference, taken in turns. The guest runtime is the real one; a
start ends with its "ready".
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.sandbox import inside

from benchmarks.figures import Figure, median, spawn_ms
from bento.guest import blob
from bento.sandbox import IMAGES, Pool, Sandbox, spawn
from bento.sandbox.jail import Jail
from bento.sandbox.launch import _jailer

ROUNDS = 41
IMAGE = IMAGES["python"]
PYTHON = ("/usr/bin/python3", "-I", "-S", "-c", "print('x', flush=True)")
BWRAP = (
    *("bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)
FORK_BOMB = """
    import os
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""


@asynccontextmanager
async def pool(size: int, folder: Path) -> AsyncIterator[Pool]:
    made = Pool(IMAGE, size, run_dir=folder, guest_blob=blob.build())
    try:
        yield made
    finally:
        await made.close()


async def timed(begin: Callable[[], Awaitable[Sandbox]]) -> float:
    began = time.perf_counter()
    sandbox = await begin()
    taken = (time.perf_counter() - began) * 1e3
    await sandbox.kill()
    sandbox.close()
    return taken


async def starts(folder: Path) -> dict[str, list[float]]:
    """Milliseconds of each way to get a sandbox, and of the two references."""
    names = iter(range(1_000_000))
    times: dict[str, list[float]] = {}

    async def cold() -> Sandbox:
        return await spawn(IMAGE, IMAGE.limits, folder, f"cold{next(names)}", blob.build())

    async with pool(1, folder) as full, pool(0, folder) as empty:
        for _ in range(ROUNDS):
            await full.full()
            await empty.full()
            await asyncio.sleep(0.05)
            times.setdefault("hit", []).append(await timed(full.take))
            times.setdefault("miss", []).append(await timed(empty.take))
            times.setdefault("cold", []).append(await timed(cold))
            times.setdefault("python", []).append(await asyncio.to_thread(spawn_ms, PYTHON))
            bare = await asyncio.to_thread(spawn_ms, (*BWRAP, *PYTHON))
            times.setdefault("bare", []).append(bare)
    return times


async def ends(folder: Path) -> list[float]:
    """Milliseconds until nothing is left of a fork bomb under a cpu quota."""
    times = []
    for number in range(5):
        limits = replace(IMAGE.limits, cpu=0.5, pids=64)
        sandbox = await spawn(IMAGE, limits, folder, f"bomb{number}", inside.blob())
        await inside.start(sandbox, FORK_BOMB)
        await asyncio.sleep(0.5)
        times.append(await timed(lambda taken=sandbox: _itself(taken)))
    return times


async def _itself(sandbox: Sandbox) -> Sandbox:
    await sandbox.kill()
    return sandbox


def private_mib(*pids: int) -> float:
    """Memory that only these processes have."""
    lines = [
        line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


async def memory(folder: Path) -> dict[str, float]:
    sandboxes = [
        await spawn(IMAGE, IMAGE.limits, folder, f"idle{number}", blob.build())
        for number in range(3)
    ]
    jails = [await Jail.build(IMAGE, IMAGE.limits, folder) for _ in range(3)]
    await asyncio.sleep(0.3)
    found = {
        "guest": private_mib(sandboxes[0].pid, _parent(sandboxes[0].pid)),
        "jail": private_mib(_pid(jails[0]), _parent(_pid(jails[0]))),
        "jailer": private_mib(_jailer()._process.pid),
        "bentod": private_mib(os.getpid()),
    }
    for jail in jails:
        await jail.demolish()
    for sandbox in sandboxes:
        await sandbox.kill()
        sandbox.close()
    return found


def _pid(jail: Jail) -> int:
    assert jail._process is not None
    return jail._process.pid


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def figures(folder: Path) -> list[Figure]:
    times = {name: median(values) for name, values in (await starts(folder)).items()}
    used = await memory(folder)
    return [
        Figure("hit", times["hit"], "ms", times["python"], 0.5, 5.0, what="v. plain python3"),
        Figure(
            "miss",
            times["miss"],
            "ms",
            times["bare"],
            1.5,
            what="a jail stands, v. bare bwrap python3",
        ),
        Figure(
            "cold",
            times["cold"],
            "ms",
            times["bare"],
            2.0,
            what="nothing stands, v. bare bwrap python3",
        ),
        Figure(
            "end",
            median(await ends(folder)),
            "ms",
            150.0,
            1.0,
            what="fork bomb under a quota of one half",
        ),
        Figure("guest", used["guest"], "MiB", 6.0, 1.0, what="private memory of an idle sandbox"),
        Figure(
            "jail",
            used["jail"],
            "MiB",
            used["guest"],
            0.2,
            what="a standing jail v. an idle sandbox",
        ),
        Figure("jailer", used["jailer"], "MiB", used["bentod"], 0.5, what="once a bentod"),
    ]


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
    try:
        for figure in asyncio.run(figures(folder)):
            print(json.dumps(figure.line(), separators=(",", ":")), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
