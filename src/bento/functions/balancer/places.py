"""How many visitors a replica has room for, from what was measured.

A fixed limit is wrong on both sides: visitors whose circuits carry little leave most of a fast uplink
unused under a small limit, and share a slow one under a large limit. So a replica has
`uplink / rate of one visitor` places, both measured: four visitors of 450 KB/s fit into 1,800 KB/s.
"""

from __future__ import annotations

from dataclasses import dataclass

UNMEASURED = 2
"""Places before anything was measured: the limit of the paper's own experiment (SIGCOMM 2021, figure 5)."""

MOST = 1000
"""Places at most: each holds a circuit, and a relay gives one neighbour only so many."""

_HALF_LIFE = 60.0
"""Seconds after which a measured rate counts half: paths and visitors change."""

_NOISE = 1000.0
"""Bytes a second below which a visitor only lingers, and measures nothing."""


@dataclass
class Rate:
    """The highest rate seen, in bytes a second; older ones count less."""

    value: float = 0.0
    at: float = 0.0

    def see(self, value: float, now: float) -> None:
        if value >= self.now(now):
            self.value, self.at = value, now

    def now(self, now: float) -> float:
        return float(self.value * 0.5 ** (max(0.0, now - self.at) / _HALF_LIFE))


@dataclass
class Places:
    """What one service learned about its visitors. `limit`: a fixed number instead, 0 for none."""

    limit: int = 0

    def __post_init__(self) -> None:
        self._visitor = Rate()

    def learn(self, rate: float, visitors: int, now: float) -> None:
        """A replica sent `rate` bytes a second to `visitors` of them at once."""
        if visitors and rate / visitors > _NOISE:
            self._visitor.see(rate / visitors, now)

    def of(self, uplink: float, now: float) -> int:
        """Places on a replica that can send `uplink` bytes a second (0: not known)."""
        if self.limit:
            return self.limit
        visitor = self._visitor.now(now)
        if not uplink or not visitor:
            return UNMEASURED
        return max(1, min(MOST, round(uplink / visitor)))
