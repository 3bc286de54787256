"""Cells from TLS records: what somebody sees who watches a link to a guard and has no key. Pure.

A tor of link protocol 4 or newer sends cells of 514 bytes (tor-spec 3). A TLS 1.3 record of n bytes
carries n - 17 of them: there are 16 of tag and one of content type (RFC 8446 section 5.2). Under load tor's
records do not end where cells end, but its stream is nothing but cells: so many whole ones have come as its
bytes make up. Only the link's opening has cells of other lengths; after it, whenever nothing is under way,
the stream stands at the end of a cell. Hence `settle`, and the proof that a count is exact: nothing is left
over at the end.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import ArrayLike, NDArray

CELL = 514
OVERHEAD = 17
APPLICATION_DATA = 23
_HEADER = struct.Struct("!BHH")


class Cells:
    """One direction of a link; fed whole or byte by byte alike."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.rest = 0
        """Bytes of a cell that has not come whole."""

    def settle(self) -> None:
        """Nothing is under way: the next byte begins a cell."""
        self.rest = 0

    def feed(self, data: bytes) -> int:
        """How many cells `data` completes."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            kind, _, length = _HEADER.unpack_from(self._buffer, at)
            if len(self._buffer) - at < _HEADER.size + length:
                break
            at += _HEADER.size + length
            if kind == APPLICATION_DATA:
                self.rest += max(0, length - OVERHEAD)
        del self._buffer[:at]
        count, self.rest = divmod(self.rest, CELL)
        return count


class Trace:
    """What an observer has of one visit: when, and how many cells which way (+ from the user, - to her)."""

    __slots__ = ("cells", "times")

    def __init__(self, times: ArrayLike, cells: ArrayLike) -> None:
        self.times: NDArray[np.float64] = np.asarray(times, dtype=np.float64)
        self.cells: NDArray[np.int32] = np.asarray(cells, dtype=np.int32)

    def __len__(self) -> int:
        """In cells."""
        return int(np.abs(self.cells).sum())

    @property
    def seconds(self) -> float:
        return float(self.times[-1]) if len(self.times) else 0.0

    def directions(self) -> NDArray[np.int8]:
        """One +1 or -1 a cell."""
        return np.repeat(np.sign(self.cells), np.abs(self.cells)).astype(np.int8)

    def cell_times(self) -> NDArray[np.float64]:
        """One time a cell."""
        return np.repeat(self.times, np.abs(self.cells))


def later(trace: Trace, after: float, by: float) -> Trace:
    """The same visit with all that came from `after` on `by` seconds later: a sender who waited first."""
    return Trace(np.where(trace.times >= after, trace.times + by, trace.times), trace.cells)
