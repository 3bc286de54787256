"""The cases that are compared, and how each one's traces come about.

fetched   a browser loads the page: at home over Tor, or on the box (Browser itself)
sent      the same path, box and tors carry the answer that Browser would have sent on that visit: a
          stand-in function waits as long as that visit's Browser took, then sends as many bytes in the
          same blocks. Nothing passes the tap while a page is fetched at the box, so this is what the wire
          shows; it spares the box a Chromium
derived   a sent trace whose answer is moved to another public start: nothing passes before it but the
          warm-up, so the wire shows the same, later or sooner
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bento.functions.browser.sizes import padded_size, start_time, warm_up

Made = Literal["fetched", "sent", "derived"]


@dataclass(frozen=True)
class Case:
    name: str
    what: str
    made: Made
    padding: str = ""
    """The size set, if it is one of Browser's."""
    timing: str = ""
    """The start set, likewise."""

    @property
    def is_browser(self) -> bool:
        return bool(self.padding)


UNDEFENDED = Case("tor", "Chromium over Tor", "fetched")
UNPADDED = Case("browser", "Browser, unpadded", "fetched", "none", "none")
SENT = (
    Case("1MB", "Browser, multiples of 1 MB (the paper's)", "sent", "1MB", "none"),
    Case("7MB", "Browser, multiples of 7 MB (the paper's)", "sent", "7MB", "none"),
    Case("x2", "Browser, powers of two", "sent", "x2", "none"),
    Case("x2-fixed", "Browser, powers of two, fixed starts", "sent", "x2", "fixed"),
)
COVERED = Case("cover", "Browser under Cover, 50 KB/s each way", "fetched", "none", "none")
UNDER_COVER = (
    *("cover", "--rate", "50KB/s", "--json", "--"),
    *("bento", "browse", "--padding", COVERED.padding, "--timing", COVERED.timing),
)
"""The commands of that case, but for the page."""
IN_TIME = Case("x2-in-time", "Browser, powers of two, each begun at 8 s", "derived", "x2", "none")
"""Fixed starts on a box that always has the page in time: the start is 8 s, so it tells nothing."""
SHIPPED = Case("x2-x2", "Browser as shipped: powers of two, starts too", "derived", "x2", "x2")
DERIVED = (IN_TIME, SHIPPED)
CASES = (UNDEFENDED, UNPADDED, *SENT, *DERIVED)
BESIDE_COVER = (UNDEFENDED, UNPADDED, SHIPPED, COVERED)
"""Compared on the few visits that were made under Cover."""


@dataclass(frozen=True)
class Answer:
    """What Browser sends: `warm` bytes at once, then `size` bytes, `start` seconds after the call."""

    warm: int
    size: int
    start: float


def answer(case: Case, size: int, ready: float) -> Answer:
    """Browser's answer in that case, for a pack of `size` bytes that was ready after `ready` seconds."""
    return Answer(
        warm_up(case.padding), padded_size(case.padding, size), start_time(case.timing, ready)
    )


STAND_IN = b"""# /// bento
# image = "python"
# memory = "32 MiB"
# lifetime = "5m"
# ///
import time

BLOCK = 65536  # Browser's own (guest.py)


def main(api, warm: int, size: int, start: float):
    called = time.monotonic()
    send(api, warm)
    time.sleep(max(0, start - (time.monotonic() - called)))
    send(api, size)


def send(api, size):
    for at in range(0, size, BLOCK):
        api.send(bytes(min(BLOCK, size - at)))
"""
