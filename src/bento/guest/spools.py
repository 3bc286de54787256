"""How much the unfetched answers of all sessions of one instance hold together, and their unread input.

Every session may keep a floor, so that nobody's answer waits for another's reader (a client
acknowledges after `FLOOR` bytes) and nobody's input for another's function. What is beyond comes out of
one pot for all, of answers and of input each. When it is empty, whoever writes an answer waits, as for a
full spool of its own, and input is dropped: its client sends it again (see `Session.receive`). So holders
of a ticket who fetch nothing, or send what nobody reads, take a known part of the instance's memory, and
no more.
"""

from __future__ import annotations

from _thread import allocate_lock

from bento.protocol import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.guest.sync import Signal

FLOOR = limits.ACK_EVERY
INPUT_FLOOR = limits.CHUNK  # all of them together: at most a sixteenth of the memory
_POT = (
    8  # the pot is this part of the instance's memory; one session alone may always fill its spool
)
_INPUT_POT = 16
_SESSIONS_MIN = 2

_LARGE_BUFFERS = 2  # sockets
_LARGE_BUFFER = 512 * limits.KIB  # fewer, larger pieces for the box to move
_SMALL_BUFFER = 64 * limits.KIB
_BUFFER = 128  # a large one is at most this part of the memory
_KERNEL = 2  # times as much as was asked for may be charged for a buffer: socket(7)
_ITSELF = 5 * limits.MIB  # the interpreter, the guest, a small function
_AT_WORK = 384 * limits.KIB  # a session's thread, and what is read and written for it at a time
_SPARE = 10  # this part of the memory is left to chance


class Spools:
    """The pot: `size` bytes beyond the `floor` of each session. Methods are called from any thread."""

    def __init__(self, size: int, floor: int = FLOOR) -> None:
        self.floor = floor
        self.left = size
        self._lock = allocate_lock()
        self._waiting: set[Signal] = set()

    @classmethod
    def of(cls, memory: int, spool: int) -> Spools:
        """That of an instance with so much memory, each of whose sessions has a spool of that size."""
        return cls(max(memory // _POT, spool - FLOOR))

    @classmethod
    def of_input(cls, memory: int) -> Spools:
        """That of the same instance's input: one session alone may always fill its window."""
        return cls(max(memory // _INPUT_POT, limits.WINDOW - INPUT_FLOOR), INPUT_FLOOR)

    def draw(self, wanted: int, waiting: Signal) -> int:
        """Up to `wanted` bytes; when there is none, `waiting` is set once there may be."""
        with self._lock:
            drawn = min(wanted, self.left)
            self.left -= drawn
            if not drawn:
                self._waiting.add(waiting)
            return drawn

    def put_back(self, size: int) -> None:
        with self._lock:
            self.left += size
            waiting, self._waiting = self._waiting, set()
        for signal in waiting:
            signal.set()


def send_buffer(memory: int, others: int) -> int:
    """Bytes for the socket of a session in an instance with so much memory and so many `others`."""
    return min(_LARGE_BUFFER, memory // _BUFFER) if others < _LARGE_BUFFERS else _SMALL_BUFFER


def most_sessions(memory: int, spool: int) -> int:
    """How many an instance with so much memory may have, so that it lives when nobody fetches an answer
    and no input is read."""
    pots = Spools.of(memory, spool).left + Spools.of_input(memory).left
    large = _LARGE_BUFFERS * _KERNEL * send_buffer(memory, 0)
    each = FLOOR + INPUT_FLOOR + _KERNEL * _SMALL_BUFFER + _AT_WORK
    fitting = (memory - memory // _SPARE - _ITSELF - pots - large) // each
    return min(limits.SESSIONS, max(_SESSIONS_MIN, fitting))


class Share:
    """What one session has of the pot; guarded by the session's own lock."""

    def __init__(self, spools: Spools, waiting: Signal) -> None:
        self._spools = spools
        self._waiting = waiting
        self._drawn = 0

    def room(self, kept: int, wanted: int) -> int:
        """How much of `wanted` more bytes may be kept beside the `kept` ones; to be told by `keeps`."""
        free = max(0, self._spools.floor + self._drawn - kept)
        if free < wanted:
            drawn = self._spools.draw(wanted - free, self._waiting)
            self._drawn += drawn
            free += drawn
        return min(wanted, free)

    def keeps(self, kept: int) -> None:
        """So much is kept now: what is not needed for it goes back."""
        unused = self._drawn - max(0, kept - self._spools.floor)
        if unused > 0:
            self._drawn -= unused
            self._spools.put_back(unused)
