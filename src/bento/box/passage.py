"""One connection made with a token that has an end: its bytes, its time.

A gate of the relay like the instance's own, in front of it. Bytes are drawn from the ledger in pieces
before they pass; when nothing is left to draw, or the token's time is over, the connection is reset. The
function goes on: whoever has another token of it may attach.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import time
from typing import TYPE_CHECKING

from bento.errors import HostError
from bento.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bento.box.ledger import Ledger
    from bento.box.tokens import Leave
    from bento.egress.relay import ByteGate, Relay

_DRAW_MIN, _DRAW_MAX = 4 * limits.KIB, limits.CHUNK_MAX
_DRAWS = 16  # pieces a whole allowance is drawn in, so that one idle connection holds little of it


class Passage:
    """`leave` is what the token allows on `instance`; `spawn` keeps a task until it is done."""

    def __init__(
        self,
        leave: Leave,
        instance: str,
        gate: ByteGate,
        ledger: Ledger,
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        self._counts = leave.bytes
        self._ends = leave.ends
        self._instance = instance
        self._gate = gate
        self._ledger = ledger
        self._spawn = spawn
        least = min((count.limit for count in leave.bytes), default=0)
        self._piece = max(_DRAW_MIN, min(_DRAW_MAX, least // _DRAWS))
        self._drawn = 0
        self._waiting: list[Callable[[], None]] = []
        self._relay: Relay | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def admit(self, size: int) -> bool:
        """Before anything is relayed: draws for the `size` bytes that came with the request, at least.
        False when not even they, or none at all, may pass."""
        if not self._counts:
            return True
        wanted = max(size, self._piece)
        self._drawn = await self._ledger.draw(self._instance, self._counts, wanted)
        if self._drawn >= max(size, 1):
            return True
        await self.put_back()
        return False

    def watch(self, relay: Relay) -> None:
        """`relay` is the one this gate stands before; `ended` is due when it is done."""
        self._relay = relay
        if self._ends is not None:
            left = self._ends - time()
            self._timer = asyncio.get_running_loop().call_later(max(left, 0), relay.abort)

    def ended(self) -> None:
        self._relay = None
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._drawn:
            self._spawn(self.put_back())

    # -- the relay's gate ------------------------------------------------------------------------

    def allowance(self) -> int:
        allowed = self._gate.allowance()
        return min(allowed, self._drawn) if self._counts else allowed

    def wait(self, resume: Callable[[], None]) -> None:
        if not self._counts or self._drawn:
            self._gate.wait(resume)
            return
        self._waiting.append(resume)
        if len(self._waiting) == 1:
            self._spawn(self._draw())

    def passed(self, count: int, outwards: bool) -> None:
        if self._counts:
            self._drawn -= count
        self._gate.passed(count, outwards)

    # --------------------------------------------------------------------------------------------

    async def _draw(self) -> None:
        with contextlib.suppress(HostError):  # what cannot be counted does not pass
            self._drawn = await self._ledger.draw(self._instance, self._counts, self._piece)
        if self._relay is None:  # it ended meanwhile
            await self.put_back()
        elif not self._drawn:
            self._relay.abort()
        else:
            waiting, self._waiting = self._waiting, []
            for resume in waiting:
                resume()

    async def put_back(self) -> None:
        """What was drawn and will not pass. Where that cannot be noted, it is lost to the holder."""
        unused, self._drawn = self._drawn, 0
        if unused:
            with contextlib.suppress(HostError):  # it is lost to the token's holder
                await self._ledger.put_back(self._instance, self._counts, unused)
