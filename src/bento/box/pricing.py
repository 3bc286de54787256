"""What a place costs somebody who shows no pass: nothing while there are enough, then ever more.

A price is a rent. It grows with the time and the size that a manifest asks for, and doubles with
every 24th of the open places that is taken beyond half of them. Whoever holds many places has paid
for the dear ones too, so somebody with the computer of one modest user ends with about what one
modest user gets, and the last places go to those who ask for little.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.protocol.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

_USUAL = Manifest()


@dataclass(frozen=True)
class Pricing:
    """`floor` is hashes for a minute of a default function at the knee; one core does 2.5 million hashes
    a second in plain Python. `doublings` lie between the knee and full."""

    floor: int = 4096  # the usual hour: 0.1 s of one core
    knee: float = 0.5
    doublings: float = 12.0  # the usual hour at 0.9: 80 s of one core; one minute: 1.3 s

    def price(self, manifest: Manifest, pressure: float) -> int:
        """Hashes for an instance under `manifest` at `pressure` (0 idle, 1 full)."""
        if pressure < self.knee:
            return 0
        steepness = self.doublings / (1 - self.knee)
        rent = self.floor * 2 ** (steepness * (min(pressure, 1.0) - self.knee))
        return round(rent * weight(manifest))


def weight(manifest: Manifest) -> float:
    """What an instance takes: minutes, times how many default functions it is as large as."""
    size = max(1.0, manifest.memory / _USUAL.memory, manifest.cpu / _USUAL.cpu)
    return size * max(1.0, manifest.lifetime / 60)


class Churn:
    """How hard the box works at starting instances: 0 to 1 and above, falling by itself.

    Somebody who creates and ends instances in a loop holds no place, but costs a start each time."""

    RATE = 10.0  # starts a second: a quarter of a core
    BURST = 40.0  # starts above that rate until it counts as full

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._level = 0.0
        self._at = clock()

    @property
    def pressure(self) -> float:
        now = self._clock()
        self._level = max(0.0, self._level - (now - self._at) * self.RATE)
        self._at = now
        return self._level / self.BURST

    def add(self) -> None:
        self._level = min(self.pressure * self.BURST + 1, self.BURST)
