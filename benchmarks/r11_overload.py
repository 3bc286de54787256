"""R11: how soon a loaded box refuses, and what its accepted work keeps meanwhile.

`bentod` is a process of its own, so are the strangers, and this one holds the accepted sessions. They echo
at a pace of 20 a second, in turns without and with strangers, who ask for ten times as many places a second
as the box could start; each turn with them is compared with those just before and after.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from itertools import chain

from tests.crash.process_box import ProcessBox, process_box

from benchmarks.figures import Figure, median
from bento.client.session import Session

PACE, TURNS, ROUNDS, SESSIONS = 0.05, 20, 10, 4
CAPACITY = 40  # starts a second of one core, see `pricing.Churn`
ECHO = b"def main(api):\n    for piece in api:\n        api.send(piece)\n"


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


async def echoes(sessions: list[Session]) -> float:
    """Milliseconds of a turn, the pause not included."""
    return statistics.fmean(chain(*await asyncio.gather(*map(echo, sessions))))


def kept(stormy: float, calm: float) -> float:
    """The part of its turns that a session keeps when one takes `stormy` ms instead of `calm`."""
    pace = PACE * 1e3
    return (pace + calm) / (pace + stormy)


class Strangers:
    """The other process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def gather(cls, box: ProcessBox, rate: float) -> Strangers:
        command = "-m", "benchmarks.strangers", str(box.run / "onion.sock"), str(rate)
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, *command, stdin=PIPE, stdout=PIPE, limit=1 << 22
            )
        )

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    def begin(self) -> None:
        self._say("begin")

    async def stop(self) -> list[float]:
        """Milliseconds of each refusal since `begin`."""
        self._say("stop")
        assert self._process.stdout is not None
        taken: list[float] = json.loads(await self._process.stdout.readline())
        return taken

    async def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def series() -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of (turns without strangers, one more than with, turns with them, refusals)."""
    async with process_box() as box:
        await box.start()
        sessions = [(await box.box.run(ECHO))[1] for _ in range(SESSIONS)]
        for session in sessions:
            await session.started()
        strangers = await Strangers.gather(box, 10 * CAPACITY)
        strangers.begin()  # its imports
        await asyncio.sleep(1)
        await strangers.stop()
        calm, stormy, refusals = [await echoes(sessions)], list[float](), list[float]()
        for _ in range(ROUNDS):
            strangers.begin()
            stormy.append(await echoes(sessions))
            refusals += await strangers.stop()
            calm.append(await echoes(sessions))
        await strangers.leave()
    return calm, stormy, refusals


def measure() -> Iterator[Figure]:
    calm, stormy, refusals = asyncio.run(series())
    beside = [statistics.fmean(pair) for pair in itertools.pairwise(calm)]
    ratios = [kept(*pair) for pair in zip(stormy, beside, strict=True)]
    worst = sorted(refusals)[len(refusals) * 95 // 100]
    low, _, high = statistics.quantiles(ratios, n=4)
    alone = 1e3 / (PACE * 1e3 + median(calm))
    yield Figure("R11", worst, "ms", 50.0, 1.0, what=f"95 of 100 of {len(refusals)} refusals")
    yield Figure(
        *("R11", median(ratios) * alone, "turns/s", alone, 0.9),
        at_least=True,
        what=f"accepted sessions' turns under {10 * CAPACITY} requests a second v. without; a turn "
        f"takes {median(stormy):.2f} v. {median(calm):.2f} ms; of {ROUNDS} rounds, quartiles "
        f"{low:.3f} to {high:.3f}",
    )
