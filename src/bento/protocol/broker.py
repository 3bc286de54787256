"""Guest <-> its own box: which other box is meant. What follows is the door's, with that box.

    guest               own box                         other box
    Reach(name)   ->
                  <-    Reached | Refused
    Hello Pad request   ->  judged, and passed on   ->  see `door`

A guest names a relay and never an address: its box knows which relays announce one, and carries the
bytes to that box's onion entrance. It reads the one request and its answer as they pass, since that is
where a child begins; what is refused there is refused in the door's own words.
"""

from __future__ import annotations

from bento.protocol import limits
from bento.protocol.door import Refused
from bento.protocol.wire import U32, Fixed, FrameReader, List, Message, Text, field

_MOST_LISTED = 255


class Reach(Message, tag=0x50):
    """By nickname or fingerprint (40 hex digits); empty: the box chooses one at random."""

    name: str = field(Text(limits.BOX_NAME))


class Reached(Message, tag=0x51):
    """Who is meant: the identity digest of its relay, and the SHA-256 of its key by the relay's word."""

    nickname: str = field(Text(limits.BOX_NAME))
    fingerprint: bytes = field(Fixed(20))
    key: bytes = field(Fixed(32))


class Survey(Message, tag=0x52):
    """All boxes, so many a message."""

    first: int = field(U32)


class Surveyed(Message, tag=0x53):
    """Some of them from the `first` asked for on, as NICKNAME FINGERPRINT KEY each; none: no more."""

    boxes: tuple[str, ...] = field(List(Text(200), _MOST_LISTED))


def box_reader() -> FrameReader:
    """Parses what a guest asks of its own box."""
    return FrameReader((Reach, Survey), limits.KIB)


def guest_reader() -> FrameReader:
    """Parses what its own box answers."""
    return FrameReader((Reached, Surveyed, Refused), limits.DOOR_FRAME)
