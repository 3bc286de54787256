"""Box <-> guest. A connection to the guest's socket begins with one byte that names its use.

Behind SESSION stand a byte of rights and the tag of the one session the connection may name: what is
left of the client's token once the box has checked it. The rest is the client's own.

On a control connection the guest first sends READY with the egress listener's descriptor attached
(SCM_RIGHTS; the box closes anything else it is sent), then the box sends Start once. A guest that was
not started ends when its control connection does; a started one lives on without the box, which may
connect again and gets READY again.

In a conclave the box sends Bound before Start, and for each channel of a client the guest asks
Measure and the box, which speaks for the platform, answers Measured. A guest that the box connects to
again asks again what was not answered.

For a function that may use tor the box also connects with TOR and one byte more (RECORDED or PLAIN):
the guest answers TOR_READY with two listeners, for control and SOCKS, and that connection is over. What
comes from an onion service is brought with ONION and the service's target, two bytes; the rest is the
connection's own.

For a function that may use other boxes it connects with BOXES: the guest answers BOXES_READY with one
listener (see `broker`).
"""

from __future__ import annotations

from bento.protocol import limits
from bento.protocol.wire import FLAG, U32, U64, Blob, Fixed, FrameReader, Message, field

CONTROL = b"C"
SESSION = b"S"
TOR = b"T"
BOXES = b"B"
ONION = b"O"
READY = b"ready"
TOR_READY = b"tor"
BOXES_READY = b"boxes"
PLAIN, RECORDED = b"p", b"r"

MAY_INVOKE, MAY_ATTACH = 1, 2
"""Rights: start the session, go on with it."""
COUNTED = 4
"""The session was paid for: once it was fetched to its end, its name starts none again."""

ANY_SESSION = bytes(limits.SESSION_TAG)
"""The tag on the connection of whoever just installed: it names its session later."""

OPENING = 1 + 1 + limits.SESSION_TAG
"""Bytes before the client's own on a session connection."""


def opening(rights: int, session: bytes) -> bytes:
    """How the box begins a session connection."""
    return SESSION + bytes([rights]) + session


class Start(Message, tag=0x40):
    """The instance's terms, as its function may see them in api.limits."""

    function: bytes = field(Fixed(32))  # SHA-256 the upload must have
    expires: int = field(U64)  # seconds since 1970
    memory: int = field(U64)  # bytes
    disk: int = field(U64)  # bytes
    upload: int = field(U64)  # bytes
    spool: int = field(U32)  # bytes of unacknowledged answer kept for each session
    patience: int = field(U32)  # seconds for the upload to begin; a slow one ends the guest too
    network: bool = field(FLAG)  # whether any egress was granted
    chromium: bool = field(FLAG)  # whether a Chromium starts with the instance, see guest.chromium


class Bound(Message, tag=0x48):
    """What evidence about this conclave is bound to, besides each channel itself."""

    identity: bytes = field(Fixed(32))  # the box: SHA-256 of its key
    terms: bytes = field(Fixed(32))  # see protocol.conclave


class Measure(Message, tag=0x49):
    """From the guest: evidence is wanted about these 64 bytes."""

    number: int = field(U32)
    report_data: bytes = field(Fixed(64))


class Measured(Message, tag=0x4A):
    """The answer to the Measure of that number; empty if the platform gave none."""

    number: int = field(U32)
    evidence: bytes = field(Blob(limits.EVIDENCE))


def guest_reader() -> FrameReader:
    """Parses what a box sends to a guest."""
    return FrameReader((Start, Bound, Measured), limits.EVIDENCE + limits.KIB)


def box_reader() -> FrameReader:
    """Parses what a guest sends to its box, after READY."""
    return FrameReader((Measure,), limits.KIB)
