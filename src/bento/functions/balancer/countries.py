"""Where rendezvous points and replicas stand: by country, as the front's tor looks addresses up.

Needs tor's database (Debian: tor-geoipdb) on the front's box. Without it nobody's place is known, and then
`choice.nearest` picks as `choice.least_loaded` does. A relay is taken to stand where its address is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from bento.errors import TorError
from bento.onion import linkspec

if TYPE_CHECKING:
    from bento.onion.handover import Rendezvous
    from bento.onion.netinfo import Address
    from bento.onion.network import Network

MAX_KNOWN = 10_000
"""Addresses whose country is remembered."""

_NOWHERE = "??"  # tor's word for an address that is in no country


class Control(Protocol):
    """Of `tor.controller.Controller`."""

    async def get_info(self, *keys: str) -> dict[str, str]: ...


class Countries:
    """Of `front.Regions`. `boxes`: the fingerprint of each replica's box."""

    def __init__(self, control: Control, network: Network, boxes: Mapping[int, str]) -> None:
        self._control = control
        self._network = network
        self._boxes = boxes
        self._known: dict[str, str] = {}

    async def of_visitor(self, visitor: Rendezvous) -> str:
        """The country of the rendezvous point, two letters; "" if nobody knows."""
        return await self._of(at for at, _ in linkspec.addresses(visitor.relay.specifiers))

    async def of_replica(self, number: int) -> str:
        """The same of a replica's box."""
        try:
            relays = (await self._network.directory()).relays
        except TorError:
            return ""
        own = self._boxes.get(number)
        found = next((relay for relay in relays if relay.fingerprint == own), None)
        return await self._of(at for at, _ in found.addresses) if found else ""

    async def _of(self, addresses: Iterable[Address]) -> str:
        address = next((str(at) for at in addresses if at.version == 4), None)
        if address is None:
            return ""
        if address not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[address] = await self._ask(address)
        return self._known[address]

    async def _ask(self, address: str) -> str:
        key = f"ip-to-country/{address}"
        try:
            said = (await self._control.get_info(key))[key]
        except TorError:  # it has no database
            return ""
        return "" if said == _NOWHERE else said
