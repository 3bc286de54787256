"""Box <-> guest. A connection to the guest's socket begins with one byte that names its use.

On a control connection the guest first sends READY with the egress listener's descriptor attached
(SCM_RIGHTS; the box closes anything else it is sent), then the box sends Start once. A guest that was
not started ends when its control connection does; a started one lives on without the box, which may
connect again and gets READY again.
"""

from __future__ import annotations

from bento.protocol import limits
from bento.protocol.wire import FLAG, U32, U64, Fixed, FrameReader, Message, field

CONTROL = b"C"
SESSION = b"S"
READY = b"ready"


class Start(Message, tag=0x40):
    """The instance's terms, as its function may see them in api.limits."""

    function: bytes = field(Fixed(32))  # SHA-256 the upload must have
    expires: int = field(U64)  # seconds since 1970
    memory: int = field(U64)  # bytes
    disk: int = field(U64)  # bytes
    upload: int = field(U64)  # bytes
    spool: int = field(U32)  # bytes of unacknowledged answer kept for each session
    network: bool = field(FLAG)  # whether any egress was granted


def start_reader() -> FrameReader:
    return FrameReader((Start,), limits.DOOR_FRAME)
