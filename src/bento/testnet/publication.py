"""Whether an onion service can be found: its descriptor has reached all its directories.

A client that asks before is told that there is no such service, and remembers it for a while.
"""

from __future__ import annotations

import asyncio

from bento.tor.control_codec import Event
from bento.tor.controller import Controller


class Publication:
    """Listens to the tor of one onion service; `address` is without `.onion`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._under_way = 0
        self._reached = 0
        self._done = asyncio.Event()

    async def listen(self, tor: Controller) -> None:
        """Begin; before the service is made."""
        await tor.subscribe({"HS_DESC"}, self.hear)

    async def done(self) -> None:
        """Return when every upload has ended and one at least has arrived. No time limit."""
        await self._done.wait()

    def hear(self, event: Event) -> None:
        """Take in one HS_DESC event (control-spec 4.1.25)."""
        action, address = (*event.positional, "", "")[:2]
        if address != self._address:
            return
        if action == "UPLOAD":
            self._under_way += 1
        elif action in ("UPLOADED", "FAILED"):
            self._under_way -= 1
            self._reached += action == "UPLOADED"
        if self._reached and not self._under_way:
            self._done.set()
