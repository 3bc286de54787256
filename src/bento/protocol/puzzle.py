"""The price of a place on a loaded box: hashes.

A box quotes `work`, the number of SHA-256 hashes that a solution takes on average, together with a
seed that belongs to this work and this moment. A solution is a nonce for which

    SHA-256("bento puzzle v1" 00 | seed | nonce) < 2^256 / work

so checking costs one hash. SHA-256 is quick on graphics cards: the puzzle is the price of a place for
somebody who shows no pass, not a proof of being one person (see docs/fairness.md).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from struct import Struct

from bento.errors import RemoteProtocolError
from bento.protocol import limits

_DOMAIN = b"bento puzzle v1\0"
_LAYOUT = Struct(">QQ16s16s")
_RATE = 2_000_000  # hashes a second of one usual core in plain Python
_COUNTER = 8  # bytes of the nonce that a solver counts in; the others are random


@dataclass(frozen=True)
class Quote:
    """`work` in hashes; `stamp` is the box's own count of time and means nothing to anybody else."""

    work: int
    stamp: int
    seed: bytes


@dataclass(frozen=True)
class Solution:
    """What is sent back: the quote as it was given, and what was found."""

    quote: Quote
    nonce: bytes

    def encode(self) -> bytes:
        quote = self.quote
        return _LAYOUT.pack(quote.work, quote.stamp, quote.seed, self.nonce)

    @classmethod
    def parse(cls, raw: bytes) -> Solution:
        """Raises RemoteProtocolError unless `raw` has the size of a solution."""
        if len(raw) != limits.SOLUTION:
            raise RemoteProtocolError("a solution of the puzzle has another size")
        work, stamp, seed, nonce = _LAYOUT.unpack(raw)
        return cls(Quote(work, stamp, seed), nonce)

    @property
    def holds(self) -> bool:
        return solves(self.quote.seed, self.nonce, self.quote.work)


def _target(work: int) -> bytes:
    return min((1 << 256) // max(work, 1), (1 << 256) - 1).to_bytes(32, "big")


def solves(seed: bytes, nonce: bytes, work: int) -> bool:
    return hashlib.sha256(_DOMAIN + seed + nonce).digest() < _target(work)


def effort(work: int) -> str:
    """A price for people: the time it takes one core."""
    if not work:
        return "nothing"
    seconds = work / _RATE
    return "less than a second of work" if seconds < 1 else f"about {seconds:.0f} s of work"


class Solver:
    """Looks for a solution, a piece at a time, so that its owner stays in charge."""

    def __init__(self, quote: Quote) -> None:
        self._quote = quote
        self._prefix = secrets.token_bytes(limits.NONCE - _COUNTER)
        self._head = hashlib.sha256(_DOMAIN + quote.seed + self._prefix)
        self._target = _target(quote.work)
        self.tried = 0

    def attempt(self, tries: int) -> Solution | None:
        """Up to `tries` more hashes, about 0.4 microseconds each."""
        copy, target = self._head.copy, self._target
        for count in range(self.tried, self.tried + tries):
            one = copy()
            one.update(count.to_bytes(_COUNTER, "big"))
            if one.digest() < target:
                self.tried = count + 1
                nonce = self._prefix + count.to_bytes(_COUNTER, "big")
                return Solution(self._quote, nonce)
        self.tried += tries
        return None
