"""How a client goes on when the way to its box breaks: again and again, ever more slowly, not for ever."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from bento.errors import BentoError, BoxError, TorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PERSISTENCE = 60.0
"""Seconds without any progress after which a broken way is given up: a tor that was restarted has its
circuits again after 10, a bentod after one."""

_FIRST, _LONGEST = 0.05, 5.0  # seconds between two tries
_STEADY = 5.0  # seconds after which a silent connection has held


class Broken(BoxError):
    """The way to the box broke; whether what was asked of it was done is not known."""


LOST = (OSError, TorError, Broken)
"""What a try ends with that is worth another one. A refusal of the box is not."""


class Tries:
    """Tries in a row, within `seconds`. `say` hears once that the way broke."""

    def __init__(self, seconds: float, say: Callable[[str], None] | None = None) -> None:
        self._seconds = seconds
        self._say = say or (lambda _: None)
        self._since: float | None = None
        self._up: float | None = None
        self._pause = _FIRST

    def moved(self) -> None:
        """Something came through: what follows is a new break."""
        self._since = None
        self._pause = _FIRST

    def up(self) -> None:
        """There is a connection again, which may or may not hold."""
        self._up = asyncio.get_running_loop().time()

    async def again(self, error: Exception) -> None:
        """Returns when it is time for the next try after `error`. Raises it when there is none."""
        now = asyncio.get_running_loop().time()
        if self._up is not None and now - self._up > _STEADY:
            self.moved()
        self._up = None
        if self._since is None:
            self._since = now
            if self._seconds:
                self._say("the connection to the box broke; trying to go on")
        if now + self._pause > self._since + self._seconds:
            if isinstance(error, BentoError):
                raise error
            raise BoxError("the connection to the box broke", "try again later") from error
        # Not to the millisecond: those whom one broken relay cut off do not come back together.
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311
        self._pause = min(2 * self._pause, _LONGEST)


async def persist(tries: Tries, work: Callable[[], Awaitable[T]], *, begun: bool = False) -> T:
    """What `work` gives, tried again when the way breaks under it.

    Unless something was `begun`, a way that was never there is told at once: there may be other boxes
    to ask."""
    while True:
        try:
            return await work()
        except LOST as error:
            if not (begun or isinstance(error, Broken)):
                raise
            begun = True
            await tries.again(error)
