"""Congestion control towards one hop: the Vegas sender of proposal 324, as in C-tor.

Each authentic SENDME tells a round trip time. The shortest one seen and the smoothed one give the
bandwidth-delay product, `cwnd * min / smoothed`; what `cwnd` has above it stands in queues. A
short queue lets the window grow, a long one makes it shrink. Times are whole microseconds and the
arithmetic is on integers, so that rounding is that of the other implementations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bento.errors import RemoteProtocolError

CELLS_PER_TLS_RECORD = 31  # 16 KiB of 514-byte cells; the unit of most defaults
_OUTBUF = 2 * CELLS_PER_TLS_RECORD
_INT32_MAX = 2**31 - 1
_JUMP = 5000  # a round trip this many times longer than the smoothed one is the clock's fault
_SENDME_FACTOR = 2  # how far a peer's increment may be from the consensus (proposal 324, 10.1)


class PathKind(Enum):
    """What the circuit is for; longer circuits have longer queues. Values: parameter suffix."""

    EXIT = "exit"
    ONION = "onion"


# name in the consensus -> (default for exit, for onion, least, most); proposal 324, 6.5
_BY_PATH: dict[str, tuple[int, int, int, int]] = {
    "cc_vegas_alpha": (2 * _OUTBUF, 3 * _OUTBUF, 0, 1000),
    "cc_vegas_beta": (4 * _OUTBUF, 7 * _OUTBUF, 0, 1000),
    "cc_vegas_gamma": (3 * _OUTBUF, 5 * _OUTBUF, 0, 1000),
    "cc_vegas_delta": (6 * _OUTBUF, 9 * _OUTBUF, 0, _INT32_MAX),
    "cc_sscap": (500, 600, 100, _INT32_MAX),
}
_COMMON: dict[str, tuple[int, int, int]] = {
    "cc_ss_max": (5000, 500, _INT32_MAX),
    "cc_cwnd_init": (4 * CELLS_PER_TLS_RECORD, CELLS_PER_TLS_RECORD, 10_000),
    "cc_cwnd_min": (2 * CELLS_PER_TLS_RECORD, CELLS_PER_TLS_RECORD, 1000),
    "cc_cwnd_max": (_INT32_MAX, 500, _INT32_MAX),
    "cc_cwnd_inc": (CELLS_PER_TLS_RECORD, 1, 1000),
    "cc_cwnd_inc_pct_ss": (100, 1, 500),
    "cc_cwnd_inc_rate": (1, 1, 250),
    "cc_cwnd_full_gap": (1, 0, 32767),
    "cc_cwnd_full_minpct": (75, 0, 100),
    "cc_cwnd_full_per_cwnd": (1, 0, 1),
    "cc_ewma_cwnd_pct": (50, 1, 255),
    "cc_ewma_max": (10, 2, _INT32_MAX),
    "cc_ewma_ss": (2, 2, _INT32_MAX),
    "cc_rtt_reset_pct": (100, 0, 100),
    "cc_sendme_inc": (CELLS_PER_TLS_RECORD, 1, 255),
}


@dataclass(frozen=True, slots=True)
class VegasParams:
    """The consensus parameters of one kind of path, each within its range; counts are of cells."""

    alpha: int
    beta: int
    gamma: int
    delta: int
    sscap: int
    ss_max: int
    cwnd_init: int
    cwnd_min: int
    cwnd_max: int
    cwnd_inc: int
    cwnd_inc_pct_ss: int
    cwnd_inc_rate: int
    cwnd_full_gap: int
    cwnd_full_minpct: int
    cwnd_full_per_cwnd: int
    ewma_cwnd_pct: int
    ewma_max: int
    ewma_ss: int
    rtt_reset_pct: int
    sendme_inc: int

    @classmethod
    def from_consensus(cls, consensus: Mapping[str, int], path: PathKind) -> VegasParams:
        values: dict[str, int] = {}
        for name, (exit_default, onion_default, least, most) in _BY_PATH.items():
            default = exit_default if path is PathKind.EXIT else onion_default
            said = consensus.get(f"{name}_{path.value}", default)
            values[name.removeprefix("cc_").removeprefix("vegas_")] = min(max(said, least), most)
        for name, (default, least, most) in _COMMON.items():
            values[name.removeprefix("cc_")] = min(max(consensus.get(name, default), least), most)
        return cls(**values)

    def accepts_increment(self, increment: int) -> bool:
        """Whether a hop may acknowledge every `increment` cells: within a factor of two of ours."""
        low, high = self.sendme_inc // _SENDME_FACTOR, self.sendme_inc * _SENDME_FACTOR
        return max(low, 1) <= increment <= high


class Vegas:
    """A `SendWindow` that learns. `increment` is what was agreed in the handshake."""

    def __init__(self, params: VegasParams, increment: int) -> None:
        self.increment = increment
        self.cwnd = params.cwnd_init
        self.inflight = 0
        self.in_slow_start = True
        self.min_rtt = 0
        self.smoothed_rtt = 0
        self.max_rtt = 0
        self._p = params
        self._checkpoints: deque[int] = deque()
        self._full = False
        self._blocked = False
        self._clock_broken = False
        self._next_update = self._acks_per_update()
        self._next_window = 0

    @property
    def room(self) -> int:
        return max(self.cwnd - self.inflight, 0)

    def sent(self, cells: int) -> None:
        self.inflight += cells

    def checkpoint(self, now: float) -> None:
        self._checkpoints.append(int(now * 1e6))

    def acknowledged(self, now: float, *, blocked: bool = False) -> None:
        if not self._checkpoints:
            raise RemoteProtocolError("the peer acknowledges cells that were not sent")
        self._next_update = max(self._next_update - 1, 0)
        self._next_window = max(self._next_window - 1, 0)
        measured = self._measure(int(now * 1e6) - self._checkpoints.popleft())
        self._note_blocked(blocked)
        if measured or blocked:
            self._update()
        self.inflight -= self.increment

    # -- the estimates

    @property
    def bdp(self) -> int:
        """Cells that fit the path without standing in a queue."""
        if not self.smoothed_rtt:
            return self.cwnd
        return self.cwnd * self.min_rtt // self.smoothed_rtt

    def _measure(self, rtt: int) -> bool:
        if self._clock_is_off(rtt):
            return False
        count = self._smoothing()
        if self.smoothed_rtt:
            self.smoothed_rtt = (2 * rtt + (count - 1) * self.smoothed_rtt) // (count + 1)
        else:
            self.smoothed_rtt = rtt
        self.max_rtt = max(self.max_rtt, rtt)
        if not self.min_rtt:
            self.min_rtt = self.smoothed_rtt
        elif self.cwnd == self._p.cwnd_min and not self.in_slow_start:
            # Stuck at the bottom: an abnormally short round trip may be the reason. Let it go.
            high, low = max(self.smoothed_rtt, self.min_rtt), min(self.smoothed_rtt, self.min_rtt)
            share = self._p.rtt_reset_pct
            self.min_rtt = share * high // 100 + (100 - share) * low // 100
        else:
            self.min_rtt = min(self.min_rtt, self.smoothed_rtt)
        return True

    def _clock_is_off(self, rtt: int) -> bool:
        """Stalls and jumps of the clock (proposal 324, 2.1.1)."""
        if rtt <= 0:
            self._clock_broken = True
            return True
        if not self.smoothed_rtt or self.in_slow_start:
            return False
        if self.smoothed_rtt > rtt * _JUMP:
            return self._clock_broken
        if rtt > self.smoothed_rtt * _JUMP:
            return True
        self._clock_broken = False
        return False

    def _smoothing(self) -> int:
        if self.in_slow_start:
            return max(self._p.ewma_ss, 2)
        share = self._acks_per_update() * self._p.ewma_cwnd_pct // 100
        return max(min(share, self._p.ewma_max), 2)

    def _note_blocked(self, blocked: bool) -> None:
        """A link of ours that fills or empties is a signal at once."""
        if blocked != self._blocked:
            self._blocked = blocked
            self._next_update = 0

    # -- the window

    def _update(self) -> None:
        queue = max(self.cwnd - self.bdp, 0)
        if self.inflight + self._p.cwnd_full_gap * self.increment >= self.cwnd:
            self._full = True
        elif 100 * self.inflight < self._p.cwnd_full_minpct * self.cwnd:
            self._full = False
        if self.in_slow_start:
            self._slow_start(queue)
        elif self._next_update == 0:
            self._steady(queue)
        self.cwnd = min(self.cwnd, self._p.cwnd_max)
        self._count_on()

    def _slow_start(self, queue: int) -> None:
        if queue < self._p.gamma and not self._blocked:
            if self._full:
                step = self._slow_start_step()
                self.cwnd += step
                if step * self._acks_per_window() <= self._p.cwnd_inc * self._p.cwnd_inc_rate:
                    self.in_slow_start = False
        else:
            self.cwnd = self.bdp + self._p.gamma
            self.in_slow_start = False
        if self.cwnd >= self._p.ss_max:
            self.cwnd = self._p.ss_max
            self.in_slow_start = False

    def _slow_start_step(self) -> int:
        """Limited slow start (RFC 3742): doubling up to the cap, then slower and slower."""
        if self.cwnd <= self._p.sscap:
            return (self._p.cwnd_inc_pct_ss * self.increment + 50) // 100
        return max((self.increment * self._p.sscap + self.cwnd) // (2 * self.cwnd), 1)

    def _steady(self, queue: int) -> None:
        if queue > self._p.delta:
            self.cwnd = self.bdp + self._p.delta - self._p.cwnd_inc
        elif queue > self._p.beta or self._blocked:
            self.cwnd -= self._p.cwnd_inc
        elif self._full and queue < self._p.alpha:
            self.cwnd += self._p.cwnd_inc
        self.cwnd = max(self.cwnd, self._p.cwnd_min)

    def _count_on(self) -> None:
        if self._next_window == 0:
            self._next_window = self._acks_per_window()
        if self._next_update == 0:
            self._next_update = self._acks_per_update()
        if self._p.cwnd_full_per_cwnd:
            start_over = self._next_window == self._acks_per_window()
        else:
            start_over = self._next_update == self._acks_per_update()
        if start_over:
            self._full = False

    def _acks_per_window(self) -> int:
        return (self.cwnd + self.increment // 2) // self.increment

    def _acks_per_update(self) -> int:
        if self.in_slow_start:
            return 1
        step = self._p.cwnd_inc_rate * self.increment
        return (self.cwnd + step // 2) // step
