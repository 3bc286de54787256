"""What can go wrong on the way through the network; all are `TorError`s.

LinkClosed       the TLS connection to the guard ended
CircuitClosed    a circuit ended; `reason` is of `cells.DestroyReason`
StreamEnded      a stream was refused or cut; `reason` is of `relay.EndReason`
"""

from __future__ import annotations

from bento.errors import TorError
from bento.onion.cells import DestroyReason
from bento.onion.relay import EndReason, end_name


class LinkClosed(TorError):
    """The connection to a relay ended, or could not be made."""


class CircuitClosed(TorError):
    """A circuit ended, here (`remote` false) or at a relay."""

    def __init__(self, reason: int, *, remote: bool, detail: str = "") -> None:
        where = "by a relay" if remote else "here"
        super().__init__(detail or f"the circuit was closed {where}: {destroy_name(reason)}")
        self.reason = reason
        self.remote = remote


class StreamEnded(TorError):
    """A stream ended in another way than by being done."""

    def __init__(self, reason: int) -> None:
        super().__init__(f"the stream ended: {end_name(reason)}", _HINTS.get(reason, ""))
        self.reason = reason


_HINTS: dict[int, str] = {
    EndReason.EXITPOLICY: "this relay does not connect there; choose another",
    EndReason.RESOLVEFAILED: "the name does not resolve",
    EndReason.CONNECTREFUSED: "nobody listens there",
    EndReason.NOTDIRECTORY: "this relay serves no directory",
}


def destroy_name(reason: int) -> str:
    """The name of a DESTROY reason, for people."""
    try:
        return DestroyReason(reason).name
    except ValueError:
        return f"reason {reason}"
