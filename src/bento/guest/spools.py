"""How much the unfetched answers of all sessions of one instance hold together.

Every session may keep `FLOOR` bytes, so that nobody's answer waits for another's reader: a client
acknowledges after that many. What is beyond comes out of one pot for all; when it is empty, whoever
writes waits, as for a full spool of its own. So holders of a ticket who fetch nothing take a known part
of the instance's memory, and no more.
"""

from __future__ import annotations

from _thread import allocate_lock

from bento.protocol import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.guest.sync import Signal

FLOOR = limits.ACK_EVERY
_FLOORS = 2  # all floors together are at most one half of the instance's memory
_POT = 8  # and the pot an eighth; one session alone may always fill its spool
_SESSIONS_MIN = 4


class Spools:
    """The pot: `size` bytes. Methods are called from any thread."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = allocate_lock()
        self._waiting: set[Signal] = set()

    @classmethod
    def of(cls, memory: int, spool: int) -> Spools:
        """That of an instance with so much memory, each of whose sessions has a spool of that size."""
        return cls(max(memory // _POT, spool - FLOOR))

    def draw(self, wanted: int, waiting: Signal) -> int:
        """Up to `wanted` bytes; when there is none, `waiting` is set once there may be."""
        with self._lock:
            drawn = min(wanted, self._left)
            self._left -= drawn
            if not drawn:
                self._waiting.add(waiting)
            return drawn

    def put_back(self, size: int) -> None:
        with self._lock:
            self._left += size
            waiting, self._waiting = self._waiting, set()
        for signal in waiting:
            signal.set()


def most_sessions(memory: int) -> int:
    """How many an instance with so much memory may have."""
    return min(limits.SESSIONS, max(_SESSIONS_MIN, memory // _FLOORS // FLOOR))


class Share:
    """What one session has of the pot; guarded by the session's own lock."""

    def __init__(self, spools: Spools, waiting: Signal) -> None:
        self._spools = spools
        self._waiting = waiting
        self._drawn = 0

    def room(self, kept: int, wanted: int) -> int:
        """How much of `wanted` more bytes may be kept beside the `kept` ones; to be told by `keeps`."""
        free = max(0, FLOOR + self._drawn - kept)
        if free < wanted:
            drawn = self._spools.draw(wanted - free, self._waiting)
            self._drawn += drawn
            free += drawn
        return min(wanted, free)

    def keeps(self, kept: int) -> None:
        """So much is kept now: what is not needed for it goes back."""
        unused = self._drawn - max(0, kept - FLOOR)
        if unused > 0:
            self._drawn -= unused
            self._spools.put_back(unused)
