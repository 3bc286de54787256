"""Quotas as arithmetic on a clock: no timer, no socket.

A `TokenBucket` may go into debt, so a caller spends first and waits after; `Meter` counts the
bytes of one instance; `Destinations` counts what is done to each place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address

from bento.egress.addresses import IPAddress
from bento.egress.limits import MAX_DESTINATIONS, MIN_READ, DestinationLimits, EgressLimits

Clock = Callable[[], float]


class LimitReached(Exception):
    """A quota refuses; the text is for the function's author."""


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up. Starts full."""

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def tokens(self) -> float:
        """What may be spent now; below zero after a debt."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens

    def spend(self, amount: float) -> None:
        self.tokens()
        self._tokens -= amount

    def seconds_until(self, amount: float) -> float:
        """Until `amount` (at most the burst) is there; 0 if it is."""
        return max(0.0, (min(amount, self._burst) - self.tokens()) / self._rate)

    @property
    def full(self) -> bool:
        return self.tokens() >= self._burst


class Meter:
    """The bytes of one instance: how many may still pass now, and how many ever."""

    def __init__(self, limits: EgressLimits, clock: Clock = time.monotonic) -> None:
        self._bucket = TokenBucket(limits.bytes_per_second, limits.burst_bytes, clock)
        self._left = limits.total_bytes
        self._least = min(MIN_READ, limits.burst_bytes)

    @property
    def exhausted(self) -> bool:
        return self._left <= 0

    def allowance(self) -> int:
        """Bytes that may be read now; 0 means wait `seconds()` (or for ever, if exhausted)."""
        tokens = int(self._bucket.tokens())
        return min(self._left, tokens) if tokens >= self._least else 0

    def seconds(self) -> float:
        return self._bucket.seconds_until(self._least)

    def spend(self, amount: int) -> None:
        self._bucket.spend(amount)
        self._left -= amount


@dataclass(slots=True)
class _Place:
    bucket: TokenBucket
    open: int = 0


class Destinations:
    """Connections per destination, for one instance or for a whole box."""

    def __init__(self, limits: DestinationLimits, clock: Clock = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._places: dict[str, _Place] = {}

    def claim(self, key: str) -> float:
        """Count one connection to `key`; returns the seconds to wait before it may be opened.

        Every claim is given back with `release`. Raises LimitReached when too many are open, or
        when the wait would be longer than the limit; then nothing was counted."""
        place = self._place(key)
        if place.open >= self._limits.connections:
            raise LimitReached(
                f"{key} already has {place.open} open connections, the most allowed to one place"
            )
        wait = place.bucket.seconds_until(1)
        if wait > self._limits.wait_seconds:
            raise LimitReached(
                f"too many new connections to {key}: "
                f"{self._limits.connections_per_second:g} per second are allowed to one place"
            )
        place.bucket.spend(1)
        place.open += 1
        return wait

    def release(self, key: str) -> None:
        self._places[key].open -= 1

    def __len__(self) -> int:
        return len(self._places)

    def _place(self, key: str) -> _Place:
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= MAX_DESTINATIONS:
                self._forget()
            limits = self._limits
            bucket = TokenBucket(
                limits.connections_per_second, limits.burst_connections, self._clock
            )
            place = self._places[key] = _Place(bucket)
        return place

    def _forget(self) -> None:
        """Drop what a newcomer would be equal to: nothing open and a full bucket."""
        self._places = {
            key: place for key, place in self._places.items() if place.open or not place.bucket.full
        }
        if len(self._places) >= MAX_DESTINATIONS:
            raise LimitReached(f"more than {MAX_DESTINATIONS} destinations in a short time")


def destination_key(name: str | None, ip: IPAddress | None) -> str:
    """What counts as one destination: see `DestinationLimits`."""
    if ip is None:
        return name or ""
    if isinstance(ip, IPv6Address):
        return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)
