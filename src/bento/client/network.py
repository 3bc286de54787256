"""The user's way into the network: a tor of their own, the boxes it can see, a route to one of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.client.finder import Finder
from bento.client.route import CircuitRoute, OnionRoute, Route
from bento.errors import BoxError, UsageError
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


@dataclass(frozen=True)
class TorEndpoints:
    """A running tor that belongs to this user alone: `unix:/path` or `HOST:PORT` each."""

    control: str
    socks: str


class Network(Finder):
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

    async def close(self) -> None:
        await self._circuits.close()
        await self._controller.close()
        if self._tor is not None:
            await self._tor.stop()

    async def boxes(self, *, refresh: bool = False) -> list[RelayEntry]:
        """The relays that announce a box, from the cache while it is fresh."""
        max_age = 0.0 if refresh else _MAX_AGE
        return await discover(self._controller, self._cache, max_age)

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
