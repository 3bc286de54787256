"""What is done while somebody watches: the same errand in turns under one Cover and under another.

`python -m tests.functions.cover.errand BLOCKS SECONDS BYTES_PER_SECOND SEED SOCKET SOCKET` sends pieces at a steady pace
and takes their echo. All of the test's network is on one machine, so whatever is done makes it busy: here as much is
done in each block, and only which Cover it is under changes. Prints a line when each block begins: nanoseconds,
and 0 or 1 for the Cover.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from bento.client.covered import CoveredRoute

PIECE = 500  # bytes
UNDER_WAY = 10  # pieces that wait for their echo: little runs into the next block


class Talk:
    """Pieces to an echo and back."""

    def __init__(self, reader, writer, pace):
        self._reader, self._writer = reader, writer
        self._pause = PIECE / pace
        self._under_way = 0
        self._back = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def begin(cls, path, pace):
        return cls(*await CoveredRoute(Path(path), "AB" * 20).open(), pace)

    async def _read(self):
        while piece := await self._reader.read(1 << 16):
            self._under_way -= len(piece)
            self._back.set()

    async def go_on(self, until):
        """Until then."""
        due = time.monotonic()
        while (now := time.monotonic()) < until:
            if self._under_way < UNDER_WAY * PIECE:
                self._under_way += PIECE
                self._writer.write(bytes(PIECE))
                due = max(due + self._pause, now)  # no hurry after a wait
                await asyncio.sleep(max(0, min(due, until) - time.monotonic()))
            else:
                self._back.clear()
                await self._back.wait()

    def end(self):
        self._reading.cancel()
        self._writer.close()


async def main(blocks, seconds, pace, seed, paths):
    talks = [await Talk.begin(path, pace) for path in paths]
    draw = random.Random(seed)
    for _ in range(blocks // 2):
        for which in draw.sample((0, 1), 2):
            print(time.monotonic_ns(), which, flush=True)
            await talks[which].go_on(time.monotonic() + seconds)
    print(time.monotonic_ns(), 0, flush=True)
    for talk in talks:
        talk.end()


if __name__ == "__main__":
    blocks, seconds, pace, seed, *paths = sys.argv[1:]
    asyncio.run(main(int(blocks), float(seconds), float(pace), int(seed), paths))
