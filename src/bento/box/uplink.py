"""The bytes between clients and instances, shared when there are more than the operator's bound.

Start-time fair queueing (Goyal, Vin, Cheng 1996): each instance's bytes move its own clock, a heavy one's
slower; when all cannot go, the one whose clock is furthest behind goes next, a piece at a time. So, for
as long as they want more than there is, bytes are in proportion to weights, however many connections an
instance has; who wants less gets all of it; and what nobody else wants is anybody's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from bento.box.parts import parts_of
from bento.egress.meters import TokenBucket
from bento.protocol.manifest import read_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bento.box.config import Config
    from bento.egress.meters import Clock

_FREE = 1 << 30  # bytes: no bound
_LEAST = 4 << 10  # bytes of a piece: eight cells
_MOST = 64 << 10  # half a read of the relay
_TURNS = 50  # pieces a second, at least, in which a narrow uplink is shared
_LATE = 4  # pieces, of an instance of weight 1
_SAVED = 0.25  # seconds of the rate that may pass at once after a rest


class Uplink:
    """`rate` bytes a second, both directions of all instances together (None: no bound); `weights` by the
    part of the box that an instance belongs to."""

    def __init__(
        self, rate: int | None, weights: Mapping[str, float], clock: Clock = time.monotonic
    ) -> None:
        self._weights = weights
        self._bucket: TokenBucket | None = None
        self.piece = _FREE
        if rate is not None:
            self.piece = max(_LEAST, min(_MOST, rate // _TURNS))
            self._bucket = TokenBucket(rate, max(self.piece, rate * _SAVED), clock)
        self._now = 0.0  # the clock of whoever went last
        self._waiting: set[Share] = set()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, config: Config) -> Uplink:
        """As the operator configured it. Raises UsageError when a card cannot be read."""
        rate = config.capacity.bandwidth
        weights = {name: part.weight for name, part in parts_of(config).items()}
        return cls(read_size(rate) if rate else None, weights)

    def share(self, part: str) -> Share:
        """The gate of one instance more."""
        return Share(self, self._weights.get(part, 1.0))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def room(self) -> int:
        """Bytes that may pass now without anybody's turn."""
        if self._bucket is None:
            return _FREE
        return self.piece if not self._waiting and self._bucket.tokens() >= self.piece else 0

    def queue(self, share: Share) -> None:
        """One more connection of `share` waits for a turn."""
        self._waiting.add(share)
        self._wait()

    def spend(self, share: Share, count: int) -> None:
        if self._bucket is None or not count:
            return
        self._bucket.spend(count)
        start = self._start(share)
        if not self._waiting:
            self._now = max(self._now, start)
        share.at = start + count / share.weight

    def _start(self, share: Share) -> float:
        """The time on the clock of `share`. It may be late by the while between two reads of a connection,
        but nobody saves up by wanting nothing."""
        return max(share.at, self._now - _LATE * self.piece)

    def _wait(self) -> None:
        if self._timer is None and self._waiting and self._bucket is not None:
            due = self._bucket.seconds_until(self.piece)
            self._timer = asyncio.get_running_loop().call_later(due, self._give)

    def _give(self) -> None:
        """Pieces, as many as there are, each to the one furthest behind. Who has got one and is first
        again waits for the loop's next turn, so that the connection that was woken comes first."""
        self._timer = None
        assert self._bucket is not None
        given: set[Share] = set()
        while self._waiting and self._bucket.tokens() >= self.piece:
            share = min(self._waiting, key=self._start)
            if share in given:
                break
            given.add(share)
            self._now = max(self._now, share.at)
            if not share.turn(self.piece):
                self._waiting.discard(share)
        self._wait()


class Share:
    """One instance's gate at the uplink: `allowance`, `wait` and `passed` as the relay asks for them."""

    def __init__(self, uplink: Uplink, weight: float) -> None:
        self.weight = weight
        self.at = 0.0  # its clock: bytes for each unit of weight
        self._uplink = uplink
        self._granted = 0
        self._asleep: deque[Callable[[], None]] = deque()

    def allowance(self) -> int:
        return self._granted or self._uplink.room()

    def wait(self, resume: Callable[[], None]) -> None:
        if self.allowance():
            resume()
            return
        self._asleep.append(resume)
        self._uplink.queue(self)

    def passed(self, count: int) -> None:
        granted = min(count, self._granted)
        self._granted -= granted
        self._uplink.spend(self, count - granted)

    def turn(self, piece: int) -> bool:
        """Wakes one of those who wait, with `piece` to pass. False if no other one waits."""
        if piece > self._granted:  # what an ended connection left over is not lost
            self._uplink.spend(self, piece - self._granted)
            self._granted = piece
        self._asleep.popleft()()
        return bool(self._asleep)
