"""Prices made out and solutions taken, without a word kept about who was quoted what.

A seed is an HMAC of price, moment and what was asked for, so the box makes it again when a solution
comes and keeps nothing in between; everybody who is quoted the same in the same ten seconds gets the
same seed. A quote is honoured while it lives, also when prices have risen since. Only solutions that
were accepted are kept, until their quote is over: each buys one place.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from struct import Struct
from typing import TYPE_CHECKING

from bento.protocol import limits
from bento.protocol.puzzle import Quote, Solution

if TYPE_CHECKING:
    from collections.abc import Callable

_TICK = 10  # seconds
_GRACE = 3  # ticks that every quote lives: three slow Tor round trips, and the tick it was made in
_SLOWEST = 100_000  # hashes a second of a telephone, for the time a dear quote lives
_BAD_LUCK = 4  # times the mean: one search in fifty takes longer
_STATE = Struct(">QQd")


class Quotes:
    """`redeem` accepts what `quote` asked for, once. `weight` is what is bought: the price of a short
    small function buys no long large one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)  # a restarted bentod starts anew, and so do its quotes
        self._origin = secrets.randbelow(1 << 32)  # no client learns since when the box runs
        self._spent: dict[bytes, int] = {}  # nonce -> first tick at which its quote is over

    def quote(self, work: int, weight: float) -> Quote:
        stamp = self._now()
        return Quote(work, stamp, self._seed(work, stamp, weight))

    def redeem(self, raw: bytes, weight: float) -> bool:
        """Whether `raw` is a fresh solution of a quote of ours that is not over; then it is spent."""
        solution = Solution.parse(raw)
        quote, now = solution.quote, self._now()
        over = quote.stamp + _GRACE + _BAD_LUCK * quote.work // (_SLOWEST * _TICK)
        if quote.stamp > now or over < now or solution.nonce in self._spent:
            return False
        ours = self._seed(quote.work, quote.stamp, weight)
        # Without the first a stranger would name a price of one hash, and guess.
        if not (hmac.compare_digest(quote.seed, ours) and solution.holds):
            return False
        self._forget(now)
        self._spent[solution.nonce] = over
        return True

    def restore(self, raw: bytes) -> None:
        """The box failed to give what was paid for."""
        self._spent.pop(Solution.parse(raw).nonce, None)

    def _now(self) -> int:
        return self._origin + int(self._clock() // _TICK)

    def _seed(self, work: int, stamp: int, weight: float) -> bytes:
        mac = hmac.digest(self._key, _STATE.pack(work, stamp, weight), hashlib.sha256)
        return mac[: limits.SEED]

    def _forget(self, now: int) -> None:
        for nonce in [nonce for nonce, over in self._spent.items() if over < now]:
            del self._spent[nonce]
