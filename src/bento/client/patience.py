"""What a user spends on a place at a loaded box: seconds of work and waiting, and no more.

The work is done in small pieces between everything else that goes on, and can be cancelled.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from bento.errors import BusyError
from bento.protocol.puzzle import Quote, Solver

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0  # seconds
_PIECE = 4096  # hashes between two looks at the clock, 2 ms
HOPE = 3.0
"""Times the time that is left: a search expected to take longer is not begun."""


class Patience:
    """One user's limit for one request. `say` hears what is being waited for. `hope`: see HOPE."""

    def __init__(
        self, seconds: float, say: Callable[[str], None] | None = None, hope: float = HOPE
    ) -> None:
        self._hope = hope
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + seconds
        self._say = say or (lambda _: None)

    async def satisfy(self, busy: BusyError) -> bytes:
        """Does what a refusal asks for: the solution to show with the next try, empty after a wait.

        Raises `busy` again when that is more than the user wants to spend."""
        if isinstance(busy.quote, Quote):
            return await self._solve(busy, busy.quote)
        if not busy.wait or busy.wait > self._left:
            raise busy
        self._say(f"{busy.detail}; trying again in {busy.wait} s")
        # Not to the second: those who were refused together do not come back together.
        await asyncio.sleep(busy.wait * random.uniform(0.8, 1.0))  # noqa: S311
        return b""

    @property
    def _left(self) -> float:
        return self._deadline - self._loop.time()

    async def _solve(self, busy: BusyError, quote: Quote) -> bytes:
        self._say(busy.detail)
        began = self._loop.time()
        solver = Solver(quote)
        while self._left > 0:
            solution = solver.attempt(_PIECE)
            if solution is not None:
                return solution.encode()
            seconds = quote.work * (self._loop.time() - began) / solver.tried
            if solver.tried == _PIECE and seconds > self._hope * self._left:
                break
            await asyncio.sleep(0)
        raise busy
