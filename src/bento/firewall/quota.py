"""Rates: a bucket that fills with time and is emptied by use. Time is given, never read."""

from __future__ import annotations


class Bucket:
    """At most `burst` at once and `rate` a second for ever after."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Use `amount` if it is there; nothing is used otherwise."""
        self._fill(now)
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def ready_at(self, amount: float, now: float) -> float:
        """The time at which `amount` will be there."""
        self._fill(now)
        missing = amount - self._level
        return now if missing <= 0 else now + missing / self.rate

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
