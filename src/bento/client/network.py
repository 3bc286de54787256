"""The user's way into the network: a tor of their own, the boxes it can see, a route to one of them."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bento.client.box import Box, BoxName
from bento.client.door import Greeting
from bento.client.route import CircuitRoute, OnionRoute, Route
from bento.errors import BentoError, BoxError, UsageError
from bento.home import bento_home
from bento.tor.circuits import CircuitManager
from bento.tor.controller import Controller
from bento.tor.discovery import RelayEntry, discover
from bento.tor.process import TorProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bento.tor.circuits import Circuit

_MAX_AGE = (
    3600.0  # seconds: the age at which a list of boxes is read again; a consensus' own lifetime
)
_FINGERPRINT = re.compile("[0-9A-Fa-f]{40}")
_INQUIRIES = 8  # boxes asked for their policies at once


@dataclass(frozen=True)
class TorEndpoints:
    """A running tor that belongs to this user alone: `unix:/path` or `HOST:PORT` each."""

    control: str
    socks: str


@dataclass(frozen=True)
class BoxReport:
    """One line of `bento boxes`: what a relay announces, and what its box said or why it did not."""

    entry: RelayEntry
    greeting: Greeting | None
    problem: str = ""


class Network:
    """Open it with `async with Network.open(...)`; boxes got from it end with it."""

    def __init__(
        self, controller: Controller, socks: str, cache: Path, tor: TorProcess | None
    ) -> None:
        self._controller = controller
        self._socks = socks
        self._cache = cache
        self._tor = tor
        self._circuits = CircuitManager(controller, socks)
        self._connecting = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        endpoints: TorEndpoints | None = None,
        *,
        cache: Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Network:
        """With `endpoints`, a tor that runs already; without, one is started in $BENTO_HOME/tor.

        Raises TorError when it cannot be started or reached."""
        home = bento_home()
        tor = None
        if endpoints is None:
            tor, endpoints = await _start_tor(home / "tor", progress)
        try:
            controller = await Controller.connect(endpoints.control)
            await controller.authenticate()
        except BaseException:
            if tor is not None:
                await tor.stop()
            raise
        return cls(controller, endpoints.socks, cache or home / "boxes.json", tor)

    async def __aenter__(self) -> Network:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._circuits.close()
        await self._controller.close()
        if self._tor is not None:
            await self._tor.stop()

    async def boxes(self, *, refresh: bool = False) -> list[RelayEntry]:
        """The relays that announce a box, from the cache while it is fresh."""
        max_age = 0.0 if refresh else _MAX_AGE
        return await discover(self._controller, self._cache, max_age)

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

    async def _route(self, entry: RelayEntry, entrance: str | None) -> Route:
        """A circuit of its own, or an isolation of its own, to this box."""
        announced = entry.announcement
        if entrance not in (None, "circuit", "onion"):
            raise UsageError(f"there is no entrance {entrance!r}", "it is circuit or onion")
        if announced.onion and (entrance == "onion" or not (announced.port or entrance)):
            return OnionRoute(self._live, announced.onion)
        if announced.port and entrance != "onion":
            host = announced.circuit_host(entry.address)

            async def build() -> Circuit:
                return await (await self._live()).build(entry.fingerprint)

            return CircuitRoute(await build(), host, announced.port, build)
        raise BoxError(f"the box has no {entrance} entrance", "use the other entrance")

    async def _live(self) -> CircuitManager:
        """Circuits of a tor that runs: of a new connection to it, if it was restarted; and our own is
        started again, if it ended. Raises TorError while there is none."""
        async with self._connecting:
            if self._controller.closed.done():
                await self._circuits.close()
                if self._tor is not None and self._tor.exited.done():
                    self._tor, _ = await _start_tor(bento_home() / "tor", None)
                controller = await Controller.connect(self._controller.address)
                try:
                    await controller.authenticate()
                except BaseException:
                    await controller.close()
                    raise
                self._controller = controller
                self._circuits = CircuitManager(controller, self._socks)
            return self._circuits


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


async def _start_tor(
    folder: Path, progress: Callable[[str], None] | None
) -> tuple[TorProcess, TorEndpoints]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socks = f"unix:{folder / 'socks'}"
    tor = TorProcess([("SocksPort", socks), ("ConfluxEnabled", "0")], folder, "your tor")
    try:
        await tor.start()
        await tor.bootstrapped(
            (lambda percent, what: progress(f"tor {percent} %: {what}")) if progress else None
        )
    except BaseException:
        await tor.stop()
        raise
    return tor, TorEndpoints(tor.control_address, socks)
