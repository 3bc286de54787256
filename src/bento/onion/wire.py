"""Reading binary records strictly: every shortage and every surplus is the peer's fault.

Invariant: a Reader never reads past its record, and `end()` refuses bytes nobody asked for.
"""

from __future__ import annotations

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
