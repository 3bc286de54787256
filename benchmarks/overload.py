"""R11: how soon a loaded box refuses, and what its accepted work keeps meanwhile.

    python -m benchmarks.overload

Two sessions echo at a pace of 20 a second, first alone, then while twenty strangers ask for places as
quickly as they are refused. Strangers, sessions and box share one process and its one core.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from itertools import chain

from tests.local_box import LocalBox, local_box

from benchmarks.figures import Figure, median
from bento.client.door import knock
from bento.client.session import Session
from bento.errors import BusyError
from bento.protocol.door import Create

PACE, TURNS, STRANGERS = 0.05, 40, 20
ECHO = b"def main(api):\n    for piece in api:\n        api.send(piece)\n"
WANTED = Create("", hashlib.sha256(ECHO).digest(), b"", b"")


async def echo(session: Session) -> list[float]:
    """Milliseconds of each turn."""
    answers, taken = aiter(session), []
    for _ in range(TURNS):
        began = time.perf_counter()
        await session.send(b"x")
        await anext(answers)
        taken.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(PACE)
    return taken


async def stranger(local: LocalBox, taken: list[float]) -> None:
    while True:
        began = time.perf_counter()
        with contextlib.suppress(BusyError):
            await knock(local.box._route, WANTED, local.box.name.key_hash)
        taken.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(PACE / 2)


async def series() -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of (echoes alone, echoes in the storm, refusals)."""
    async with local_box(instances=4, pool=0) as local:
        sessions = [(await local.box.run(ECHO))[1] for _ in range(2)]
        for session in sessions:
            await session.started()
        calm = await asyncio.gather(*map(echo, sessions))
        refusals: list[float] = []
        storm = [asyncio.create_task(stranger(local, refusals)) for _ in range(STRANGERS)]
        stormy = await asyncio.gather(*map(echo, sessions))
        for task in storm:
            task.cancel()
        await asyncio.gather(*storm, return_exceptions=True)
    return [*chain(*calm)], [*chain(*stormy)], refusals


def main() -> None:
    calm, stormy, refusals = asyncio.run(series())
    worst = sorted(refusals)[len(refusals) * 95 // 100]
    pace = PACE * 1e3
    for figure in (
        Figure("R11", worst, "ms", 50.0, 1.0, what=f"95 of 100 of {len(refusals)} refusals"),
        Figure(
            *("R11", 1e3 / (pace + median(stormy)), "turns/s", 1e3 / (pace + median(calm)), 0.9),
            at_least=True,
            what="an accepted session's turns in the storm v. alone",
        ),
    ):
        print(json.dumps(figure.line(), separators=(",", ":")))


if __name__ == "__main__":
    main()
