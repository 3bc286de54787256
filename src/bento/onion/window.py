"""How many DATA cells may be under way: the fixed windows of old (tor-spec 7.3, 7.4).

    level     start   an acknowledgement opens
    circuit   1000    100
    stream     500     50

`SendWindow` is what `Hop` needs; `congestion.Vegas` is the other kind.
"""

from __future__ import annotations

from typing import Protocol

from bento.errors import RemoteProtocolError

CIRCUIT_START, CIRCUIT_INCREMENT = 1000, 100
STREAM_START, STREAM_INCREMENT = 500, 50


class SendWindow(Protocol):
    """Counts DATA cells towards one hop. Times are in seconds of one monotonic clock."""

    increment: int  # cells that one SENDME acknowledges

    @property
    def room(self) -> int:
        """DATA cells that may be sent now; never negative."""
        ...

    def sent(self, cells: int) -> None: ...

    def checkpoint(self, now: float) -> None:
        """The cell just counted is one whose arrival will be acknowledged."""
        ...

    def acknowledged(self, now: float, *, blocked: bool) -> None:
        """An authentic SENDME came; `blocked`: our own link takes no more at the moment."""
        ...


class FixedWindow:
    """A window that does not learn. `acknowledged` refuses more than was ever sent."""

    def __init__(self, start: int = CIRCUIT_START, increment: int = CIRCUIT_INCREMENT) -> None:
        self.increment = increment
        self._start = start
        self._room = start

    @property
    def room(self) -> int:
        return self._room

    def sent(self, cells: int) -> None:
        self._room -= cells

    def checkpoint(self, now: float) -> None:
        pass

    def acknowledged(self, now: float, *, blocked: bool = False) -> None:
        if self._room + self.increment > self._start:
            raise RemoteProtocolError("the peer acknowledges cells that were not sent")
        self._room += self.increment


class ReceiveWindow:
    """Cells the peer may still send us on a stream, and when to acknowledge them."""

    def __init__(self, start: int = STREAM_START, increment: int = STREAM_INCREMENT) -> None:
        self._left = start
        self._increment = increment
        self._consumed = 0

    def received(self, cells: int) -> None:
        """RemoteProtocolError when the peer sends more than we allowed."""
        self._left -= cells
        if self._left < 0:
            raise RemoteProtocolError("the peer sends more than the stream's window allows")

    def consumed(self, cells: int) -> int:
        """The application took `cells`; how many acknowledgements are due."""
        self._consumed += cells
        due, self._consumed = divmod(self._consumed, self._increment)
        self._left += due * self._increment
        return due
