"""How many visitors a replica has room for, from what was measured.

A fixed limit is wrong on both sides: visitors whose circuits carry little leave most of a fast uplink
unused under a small limit, and share a slow one under a large limit. So a replica has
`uplink / rate of one visitor` places, both measured: four visitors of 450 KB/s fit into 1,800 KB/s.

An uplink counts as measured once visitors shared it: one alone may be held back by its own circuit. And
what one takes is best seen while it is alone: so a replica has room for one until it was. What one visitor
takes is the median of what the replicas say, so that a single one that lies cannot move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_high, median_low

UNMEASURED = 2
"""Places before anything was measured: the limit of the paper's own experiment (SIGCOMM 2021, figure 5)."""

MOST = 1000
"""Places at most: each holds a circuit, and a relay gives one neighbour only so many."""

UNLIKE = 4
"""Times the median of all uplinks that one replica's may count: a replica may lie."""

_HALF_LIFE = 60.0
"""Seconds after which a measured rate counts half: paths and visitors change."""

_WHOLE = 2
"""Seconds in a row, of which one is a whole one."""

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
class Meter:
    """What one replica's reports tell. `claimed`: the uplink that it says it has; 0 if it does not.
    `alone`: seconds in a row for which one visitor had it to itself, until they were enough."""

    claimed: float = 0.0
    alone: int = 0
    shared: Rate = field(default_factory=Rate)
    visitor: Rate = field(default_factory=Rate)

    def learn(self, rate: float, visitors: int, now: float) -> None:
        """It sent `rate` bytes a second to `visitors` of them at once."""
        if visitors and rate / visitors > _NOISE:
            self.visitor.see(rate / visitors, now)
            if visitors > 1:
                self.shared.see(rate, now)
            if self.alone < _WHOLE:
                self.alone = self.alone + 1 if visitors == 1 else 0

    @property
    def knows_one(self) -> bool:
        """What a visitor takes was seen for a whole second at least: the first is rarely one."""
        return self.claimed > 0 or self.alone >= _WHOLE

    @property
    def uplink(self) -> float:
        """Bytes a second; 0 if not known."""
        return self.claimed or self.shared.value


def places(meters: Sequence[Meter], now: float) -> tuple[list[int], int]:
    """Of each replica, and of one that nobody has measured."""
    uplinks = [meter.uplink for meter in meters if meter.uplink]
    takes = [taken for meter in meters if (taken := meter.visitor.now(now)) > _NOISE]
    if not uplinks or not takes:
        return [UNMEASURED] * len(meters), UNMEASURED
    usual, visitor = median_low(uplinks), median_high(takes)  # of two, what gives fewer places

    def fit(uplink: float) -> int:
        return max(1, min(MOST, round(min(uplink, UNLIKE * usual) / visitor)))

    return [fit(meter.uplink or usual) for meter in meters], fit(usual)
