"""A token bucket for the rate that an XON advises (proposal 324, 4.1.2). Pure."""

from __future__ import annotations

import math

_NO_LIMIT = 2**62
_LEAST = 4096.0  # bytes a second


class Pace:
    """Bytes that may go now. Without a rate there is no limit; the bucket holds one second."""

    def __init__(self) -> None:
        self._rate = math.inf
        self._tokens = math.inf
        self._at = 0.0

    def set_rate(self, kilobytes_per_second: int, now: float) -> None:
        """0 takes the limit away; no rate is so low that a burst never fits the bucket."""
        self._rate = max(kilobytes_per_second * 1000, _LEAST) if kilobytes_per_second else math.inf
        self._tokens = self._rate
        self._at = now

    def allowed(self, now: float) -> int:
        """Bytes that may be sent at `now` (seconds)."""
        if self._rate < math.inf:
            self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
            self._at = now
        return max(0, int(min(self._tokens, _NO_LIMIT)))

    def spend(self, count: int) -> None:
        self._tokens -= count

    def wait(self, wanted: int) -> float:
        """Seconds until `wanted` bytes may go; the bucket must be able to hold them."""
        if self._rate == math.inf:
            return 0.0
        return max(0.0, (wanted - self._tokens) / self._rate)
