"""Link padding against coarse traffic records, as C-tor does it (padding-spec 2).

A link that was silent in both directions for a random time sends one PADDING cell. The time is
the larger of two uniform draws, by default from 1.5 to 9.5 s, so an idle link stays one single
flow in a router's records. Pure: the caller brings the clock and the randomness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

LOW_MS, HIGH_MS = 1500, 9500  # nf_ito_low, nf_ito_high: the consensus may change both
_MAX_MS = 60_000  # the range of the consensus parameters


@dataclass(frozen=True, slots=True)
class PaddingRange:
    """Silence before a PADDING cell, in milliseconds; `high_ms` 0 means no padding."""

    low_ms: int = LOW_MS
    high_ms: int = HIGH_MS

    def __post_init__(self) -> None:
        clean_low = min(max(self.low_ms, 0), _MAX_MS)
        object.__setattr__(self, "low_ms", clean_low)
        clean_high = min(max(self.high_ms, 0), _MAX_MS)
        object.__setattr__(self, "high_ms", max(clean_high, clean_low) if clean_high else 0)


class LinkPadding:
    """When the next PADDING cell is due; `uniform(low, high)` draws whole milliseconds."""

    def __init__(self, span: PaddingRange, uniform: Callable[[int, int], int], now: float) -> None:
        self._span = span
        self._uniform = uniform
        self._last = now
        self._wait = self._draw()

    @property
    def enabled(self) -> bool:
        return self._span.high_ms > 0

    def traffic(self, now: float) -> None:
        """A cell went either way at `now` (seconds)."""
        self._last = now

    def due_in(self, now: float) -> float:
        """Seconds until a PADDING cell is due; 0 or less: now."""
        return self._last + self._wait - now

    def sent(self, now: float) -> None:
        """The PADDING cell was sent: start over with a new time."""
        self._last = now
        self._wait = self._draw()

    def _draw(self) -> float:
        if not self.enabled:
            return math.inf
        low, high = self._span.low_ms, self._span.high_ms
        return max(self._uniform(low, high), self._uniform(low, high)) / 1000
