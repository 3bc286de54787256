"""From a box's name to the box, whatever way there leads to it."""

from __future__ import annotations

import asyncio
import re
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from bento.client.box import Box, BoxName
from bento.errors import BentoError, BoxError, UsageError

if TYPE_CHECKING:
    from bento.client.door import Greeting
    from bento.client.route import Route
    from bento.tor.boxes import RelayEntry

_FINGERPRINT = re.compile("[0-9A-Fa-f]{40}")
_INQUIRIES = 8  # boxes asked for their policies at once


@dataclass(frozen=True)
class BoxReport:
    """One line of `bento boxes`: what a relay announces, and what its box said or why it did not."""

    entry: RelayEntry
    greeting: Greeting | None
    problem: str = ""


class Finder(ABC):
    """Boxes by name; those got from it end with it. Two things are its heirs': `boxes` and `_route`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @abstractmethod
    async def close(self) -> None:
        """Ends every way there is."""

    @abstractmethod
    async def boxes(self, *, refresh: bool = False) -> list[RelayEntry]:
        """The relays that announce a box."""

    @abstractmethod
    async def _route(self, entry: RelayEntry, entrance: str | None) -> Route:
        """A way of its own to this box, as separate from all others as can be."""

    async def report(self, *, refresh: bool = False) -> list[BoxReport]:
        """Every box with its verified policy, or with the reason why there is none."""
        places = asyncio.Semaphore(_INQUIRIES)

        async def ask(entry: RelayEntry) -> BoxReport:
            async with places:
                try:
                    async with await self._enter(entry, None) as box:
                        return BoxReport(entry, await box.inquire())
                except BentoError as error:
                    return BoxReport(entry, None, error.detail)

        return list(await asyncio.gather(*map(ask, await self.boxes(refresh=refresh))))

    async def box(
        self, name: str | None = None, *, entrance: str | None = None, shared: bool = False
    ) -> Box:
        """A box over fresh routes: by nickname, fingerprint or onion address, or any at random.

        `entrance` is "circuit" or "onion"; by default the one the box has, the circuit first. Each function
        has a circuit of its own; with `shared` all used through this Box have one, which is
        quicker and tells the box that they belong together."""
        entries = await self.boxes()
        found = _choose(entries, name)
        if found is None:
            found = _choose(await self.boxes(refresh=True), name)
        if found is None:
            raise _missing(name)
        return await self._enter(found, entrance, shared=shared)

    async def box_of(self, fingerprint: bytes) -> Box:
        """The box a ticket names."""
        return await self.box(fingerprint.hex())

    async def _enter(self, entry: RelayEntry, entrance: str | None, *, shared: bool = False) -> Box:
        name = BoxName(entry.nickname, entry.fingerprint, entry.announcement.key)
        first = await self._route(entry, entrance)
        return Box(name, first, None if shared else partial(self._route, entry, entrance))


def _missing(name: str | None) -> BoxError:
    if name is None:
        return BoxError("no relay announces any box", "bento boxes lists those there are")
    if _FINGERPRINT.fullmatch(name):
        return BoxError(
            f"the box of relay {name.upper()} is not in the network now",
            "it may be down, or a ticket be of another network; bento boxes lists those there are",
        )
    return BoxError(
        f"no relay announces a box called {name!r}", "bento boxes lists those there are"
    )


def _choose(entries: list[RelayEntry], name: str | None) -> RelayEntry | None:
    if name is None:
        return secrets.choice(entries) if entries else None
    wanted = name.removesuffix(".onion").removeprefix("$").lower()
    matches = [
        entry
        for entry in entries
        if wanted in (entry.nickname.lower(), entry.fingerprint.lower(), entry.announcement.onion)
    ]
    if len(matches) > 1:
        # Nicknames are nobody's property: never guess which one was meant.
        raise UsageError(f"several boxes are called {name!r}", "name it by its fingerprint")
    return matches[0] if matches else None
