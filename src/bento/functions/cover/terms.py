"""What a Cover is to be: its rate, its budget, its end; and what that costs. Pure.

Budget and end are written as in a manifest ("64 MiB", "10m"); the end is the manifest's own lifetime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bento.errors import UsageError
from bento.protocol.manifest import amended

from .frames import CELL
from .guest import LONGEST, NANO, SHORTEST

WIRE_CELL = 514 + 22
"""Bytes of one cell on the line of who uses Cover, at most: the cell, and its TLS record's own; TCP's
and IP's come on top as they please."""

MIN_END = 60
"""Seconds of the shortest public end."""

LIFETIME = 65 * 60
"""Seconds asked for when no end is named: an hour and the minutes to begin and to stop."""

FUNCTIONS = 16
"""Instances on other boxes that a command may have at once."""

SLACK = 60
"""Seconds an instance lives longer than its Cover: those to begin and to stop."""

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(B|kB|KB|KiB|MB|MiB|cells)?/s", re.ASCII)
_UNITS = {None: 1, "B": 1, "kB": 1000, "KB": 1000, "KiB": 1024, "MB": 10**6, "MiB": 1 << 20}
_UNITS["cells"] = CELL


@dataclass(frozen=True)
class Terms:
    """`slot`: nanoseconds from one cell to the next, each way; `budget`: bytes in all, both ways (0:
    no bound); `seconds`: when it ends (0: at a public end after its command)."""

    slot: int
    budget: int = 0
    seconds: int = 0

    @property
    def cells_per_second(self) -> float:
        """Each way."""
        return NANO / self.slot

    @property
    def bytes_per_hour(self) -> int:
        """On the user's line, both ways together."""
        return int(2 * self.cells_per_second * 3600 * WIRE_CELL)

    @property
    def lifetime(self) -> int:
        """Seconds, the manifest's."""
        return self.seconds + SLACK if self.seconds else LIFETIME


def read_slot(rate: str) -> int:
    """Nanoseconds of a slot at a rate such as "25KB/s" or "50 cells/s", each way. Raises UsageError."""
    match = _RATE.fullmatch(rate.strip())
    slot = (
        round(NANO * CELL / (float(match[1]) * _UNITS[match[2]]))
        if match and float(match[1])
        else 0
    )
    if not SHORTEST <= slot <= LONGEST:
        raise UsageError(
            f"{rate[:40]!r} is no rate of a cover",
            f'write it as "25KB/s" or "50 cells/s", {CELL * NANO // LONGEST or 1} B/s to '
            f"{CELL * NANO // SHORTEST // 1000} KB/s",
        )
    return slot


def public_end(elapsed: float) -> int:
    """The end of a Cover whose command ended after so many seconds: 1, 2, 4, 8... minutes after its
    beginning. It tells an observer no more than which of them."""
    end = MIN_END
    while end < elapsed:
        end *= 2
    return end


def manifest_for(manifest: str, terms: Terms, *, streams: bool) -> str:
    """What is asked of the box: with `streams` also other boxes, for what a command installs there."""
    asked = amended(manifest, lifetime=f"{terms.lifetime}s")
    if streams:
        asked = amended(asked, boxes=FUNCTIONS)
    return asked
