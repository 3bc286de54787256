"""How much of a page the Browser takes: each limit with its unit and its reason.

What a limit stops is named in the pack (pack.Cut), so that nobody takes a cut page for a whole
one. Every limit stays below the bounds of the format (pack.py).
"""

from dataclasses import dataclass

from .sizes import KIB, MIB


@dataclass(frozen=True, slots=True)
class Limits:
    page_seconds: float = 30
    """A page that is not finished by then is packed as it stands."""

    response_seconds: float = 15
    """From a response's first byte to its last: a stream without an end is cut there."""

    patience_seconds: float = 5
    """After the page's load event, a request this old no longer holds it up (long polls)."""

    quiet_seconds: float = 0.5
    """A page is finished once it was loaded and asked for nothing so long (Puppeteer's figure)."""

    settle_seconds: float = 0.1
    """The same of a page in which nothing lives: its icon is asked for about 25 ms after the load event."""

    stretch_seconds: float = 5
    """For what is loaded only when it is in view, all the way down the page."""

    extras_seconds: float = 10
    """For the title, the picture and the MHTML of a finished page."""

    page_bytes: int = 32 * MIB
    """All bodies together; ten times a usual page, and two fit into the sandbox's memory."""

    response_bytes: int = 16 * MIB
    """One body."""

    media_bytes: int = 4 * MIB
    """One body of sound or film: its beginning, which is all that a player asks for unplayed."""

    request_bytes: int = 1 * MIB
    """The body of one request."""

    head_bytes: int = 8 * MIB
    """All that is kept besides: addresses, headers, what the page sent. 4 KiB for each response."""

    responses: int = 2000
    """The heaviest of 101 Debian pages asks for 296 things."""

    picture_height: int = 8192
    """Pixels; a taller page is cut at the bottom of its picture."""

    picture_bytes: int = 8 * MIB
    mhtml_bytes: int = 24 * MIB


LIMITS = Limits()

UNITS = {"seconds": "s", "bytes": "B", "responses": "responses", "height": "pixels"}


BROKEN = {"connection": "the connection broke"}
"""What can cut a body besides a limit."""


def describe(limits: Limits, name: str) -> str:
    """Why something was cut, as a reader wants it: "more than 16 MiB", "more than 30 s"."""
    if name in BROKEN:
        return BROKEN[name]
    value: float = getattr(limits, name)
    unit = UNITS[name.rpartition("_")[2]]
    if unit != "B":
        return f"more than {value:g} {unit}"
    return f"more than {value / MIB:g} MiB" if value >= MIB else f"more than {value / KIB:g} KiB"
