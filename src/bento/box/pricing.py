"""What a place costs somebody who shows no pass: nothing while there are enough, then a rent.

The rent is set so that one ordinary core, working all the time, holds a fifth of the places at most. It
grows with the time and the size that a manifest asks for. It rises little towards a full box: under a
steep rent whoever came first holds many places cheaply, and those who come later pay for it.
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
    """`core` is the hashes of one ordinary core in a minute, in plain Python; `share` the part of all
    places that they rent at the knee, half of it when the box is full."""

    core: int = 150_000_000  # 2.5 million a second
    share: float = 0.2
    knee: float = 0.5

    def price(self, manifest: Manifest, pressure: float, places: int) -> int:
        """Hashes for an instance under `manifest` at `pressure` (0 idle, 1 full) on a box of `places`."""
        if pressure < self.knee:
            return 0
        rent = self.core / max(1.0, places * self.share)
        steepness = (min(pressure, 1.0) - self.knee) / (1 - self.knee)
        return round(rent * 2**steepness * weight(manifest))


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
