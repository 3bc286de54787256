"""Cover on one circuit: a fixed number of cells a second, data when there is data, else RELAY_DROP.

    each tick:  allowance = cells due  ->  writers use it  ->  what is left goes as DROP

A DROP is sealed like DATA; nobody before the hop that it is for can tell them apart, and that hop
throws it away without counting it in any window (tor-spec 7.1). Acknowledgements are cells too: they
take the place of a DROP. What this cannot do: make a relay of others send cover *to* us.
"""

from __future__ import annotations

import asyncio

from bento.errors import LocalProtocolError
from bento.onion.circuit import Circuit
from bento.onion.errors import CircuitClosed

TICK_SECONDS = 0.02
MAX_RATE = 5000.0  # cells a second: 2.5 MB/s; beyond it a busy machine misses ticks
_TURNS_FOR_WRITERS = 3  # of the loop: a writer that wakes needs two to seal its cells


class FixedRate:
    """How many cells are due. Pure; times in seconds. Debt from a late tick is made up for."""

    def __init__(self, rate: float, now: float) -> None:
        if not 0 < rate <= MAX_RATE:
            raise LocalProtocolError(f"cover runs at up to {MAX_RATE:.0f} cells a second")
        self._rate = rate
        self._start = now
        self._sent = 0

    def due(self, now: float) -> int:
        """Cells to send now; negative when more were sent than the rate has room for."""
        return int((now - self._start) * self._rate) - self._sent

    def sent(self, count: int) -> None:
        self._sent += count


class Cover:
    """Runs a schedule on a circuit until `stop`, or until the circuit ends.

    `hop` is who throws the cover away: a middle relay for what an observer of our link sees, the
    last hop when the whole way is to be covered. `skipped` counts ticks at which the link was full:
    then the rate is higher than the guard takes, and an observer can see it.
    """

    def __init__(self, circuit: Circuit, rate: float, hop: int) -> None:
        self.drops = 0
        self.skipped = 0
        self._circuit = circuit
        self._hop = hop
        self._clock = asyncio.get_running_loop().time
        self._schedule = FixedRate(rate, self._clock())
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Ends the cover and lets data flow freely again."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._circuit.allow(None)

    async def _run(self) -> None:
        try:
            while not self._circuit.closed.done():
                await self._tick()
                await asyncio.sleep(TICK_SECONDS)
        except CircuitClosed:
            return

    async def _tick(self) -> None:
        if self._circuit.blocked:
            self.skipped += 1
            return
        overdrawn = min(self._circuit.allowance or 0, 0)  # acknowledgements since the last tick
        self._schedule.sent(-overdrawn)
        due = self._schedule.due(self._clock())
        if due <= 0:
            self._circuit.allow(0)
            return
        self._circuit.allow(due)
        for _ in range(_TURNS_FOR_WRITERS):
            await asyncio.sleep(0)
        left = max(self._circuit.allowance or 0, 0)
        for _ in range(left):
            self._circuit.drop(self._hop)
        self.drops += left
        self._schedule.sent(due)
