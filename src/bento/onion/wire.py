"""Reading binary records strictly: every shortage and every surplus is the peer's fault.

Invariant: a Reader never reads past its record, and `end()` refuses bytes nobody asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain

from bento.errors import LocalProtocolError, RemoteProtocolError


class Reader:
    """A cursor over one record. `what` names the record in errors."""

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes; RemoteProtocolError when there are fewer."""
        start, stop = self._at, self._at + count
        if stop > len(self._data):
            raise RemoteProtocolError(f"{self._what} is cut short")
        self._at = stop
        return self._data[start:stop]

    def uint(self, width: int) -> int:
        """The next `width` bytes as an unsigned big-endian number."""
        return int.from_bytes(self.take(width), "big")

    def vector(self, length_width: int) -> bytes:
        """A byte string that follows its own length."""
        return self.take(self.uint(length_width))

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data) - self._at)

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    @property
    def position(self) -> int:
        return self._at

    def end(self) -> None:
        """RemoteProtocolError when something is left over."""
        if self._at != len(self._data):
            raise RemoteProtocolError(f"{self._what} has bytes after its end")


def vector(data: bytes, length_width: int) -> bytes:
    """`data` after its own length; LocalProtocolError when it does not fit."""
    if len(data) >= 1 << (8 * length_width):
        raise LocalProtocolError(f"{len(data)} bytes do not fit a {length_width}-byte length")
    return len(data).to_bytes(length_width, "big") + data


class Rows:
    """Cuts one field out of each of many rows of one size. `layout` is for `struct` and has one field."""

    _AT_ONCE = 16  # rows a step: each step costs more than any row of it

    def __init__(self, layout: str) -> None:
        self._one = struct.Struct(layout)
        self._many = struct.Struct(layout * self._AT_ONCE)

    def cut(self, data: bytes | memoryview) -> Iterator[bytes]:
        """The fields in order; `data` is a whole number of rows."""
        end = len(data) // self._many.size * self._many.size
        steps = chain(self._many.iter_unpack(data[:end]), self._one.iter_unpack(data[end:]))
        return chain.from_iterable(steps)
