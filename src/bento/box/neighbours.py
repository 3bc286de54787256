"""The other boxes, as this one knows them: which relays announce one, and a way there through Tor.

What relays say is read from the relay's own tor, which as a directory cache has every full descriptor
anyway: nobody learns that it was asked for. Connections are the functions' tor's, to the onion entrance
of a box, so that no function has a say in the address.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from bento.egress.limits import EgressLimits
from bento.egress.policy import EgressPolicy
from bento.egress.routes import Refusal, TorRoute
from bento.egress.rules import EgressRules
from bento.egress.socks_server import Reply, Request
from bento.errors import BoxError, TorError
from bento.firewall import tor_username
from bento.tor.boxes import find_boxes
from bento.tor.consensus import parse_statuses
from bento.tor.controller import CommandRefused, Controller
from bento.tor.descriptors import parse_descriptors

if TYPE_CHECKING:
    import socket
    from ipaddress import IPv4Address, IPv6Address

    from bento.box.functions_tor import FunctionsTor
    from bento.egress.routes import Gate, Route
    from bento.tor.boxes import RelayEntry

_MAX_AGE = 3600.0  # seconds; a consensus' own lifetime
_LEAST_AGE = 15.0  # seconds; an unknown name has the list read again, but not over and over
_ONION_PORT = 80


class Neighbours:
    """`control` is the relay's own tor, `functions` the one that carries connections."""

    def __init__(self, control: str, functions: FunctionsTor) -> None:
        self._control = control
        self._functions = functions
        self._found: list[RelayEntry] = []
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def all(self, max_age: float = _MAX_AGE) -> list[RelayEntry]:
        """Every relay that announces a box with an onion entrance. Raises TorError."""
        async with self._reading:
            if time.monotonic() - self._read_at > max_age:
                self._found = await _read(self._control)
                self._read_at = time.monotonic()
        return self._found

    async def find(self, name: str) -> RelayEntry:
        """The one of that nickname or fingerprint; for "" any but this one. Raises BoxError, TorError."""
        if not name:
            own = self._functions.own_relay
            others = [entry for entry in await self.all() if entry.fingerprint != own]
            if not others:
                raise BoxError("no other relay announces a box", "install on a box by yourself")
            return secrets.choice(others)
        for max_age in (_MAX_AGE, _LEAST_AGE):
            found = [entry for entry in await self.all(max_age) if name.lower() in _names(entry)]
            if len(found) == 1:
                return found[0]
            if found:
                raise BoxError("several boxes have this name", "name it by its fingerprint")
        raise BoxError(
            "no relay announces a box of this name",
            "a box is named by its relay's nickname or fingerprint, never by an address",
        )

    async def connect(self, entry: RelayEntry, key: str, user: str) -> socket.socket:
        """A connection to the box; `key` is the function's isolation key, and with another `user` it takes
        another circuit. Raises TorError."""
        route = TorRoute(self._functions.socks, partial(tor_username, key))
        onion = f"{entry.announcement.onion}.onion"
        try:
            return await route.open(Request(onion, None, _ONION_PORT, user), _ToBox())
        except Refusal as refusal:
            raise TorError(
                f"the other box cannot be reached: {refusal.reason}", "try again, or another box"
            ) from None


class PastBoxes:
    """A route through Tor that leads to no box: who may use boxes names them, and is judged there."""

    def __init__(self, route: Route, neighbours: Neighbours) -> None:
        self._route = route
        self._neighbours = neighbours

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        """Raises Refusal for a box's onion entrance, and for every one while it is not known which are."""
        name = request.name or ""
        if name.endswith(".onion"):
            try:
                boxes = await self._neighbours.all()
            except TorError:
                raise Refusal(Reply.FAILURE, "the box does not know other boxes yet") from None
            if name.split(".")[-2] in {entry.announcement.onion for entry in boxes}:
                raise Refusal(
                    Reply.NOT_ALLOWED,
                    "this is a box: api.boxes reaches it, with a manifest line boxes",
                )
        return await self._route.open(request, gate)


class _ToBox:
    """What a route asks of a proxy: the destination is an announced box, and nothing else."""

    policy = EgressPolicy(rules=EgressRules.parse((f"*:{_ONION_PORT}",)), exit_policy=None)
    limits = EgressLimits()

    async def claim(self, name: str | None, ip: IPv4Address | IPv6Address | None) -> None:
        """The connections of an instance are counted where they come in."""

    async def lookup(self, resolver: object, name: str) -> list[IPv4Address | IPv6Address]:
        raise LookupError("onion names are not looked up")


def _names(entry: RelayEntry) -> tuple[str, str]:
    return entry.nickname.lower(), entry.fingerprint.lower()


async def _read(control: str) -> list[RelayEntry]:
    async with await Controller.connect(control) as tor:
        await tor.authenticate()
        statuses, descriptors = await _get(tor, "ns/all"), await _get(tor, "desc/all-recent")
    # On the live network these are megabytes: other clients of the box do not wait for them.
    found = await asyncio.to_thread(_parse, statuses, descriptors)
    return [entry for entry in found if entry.announcement.onion]


async def _get(tor: Controller, key: str) -> str:
    try:
        return (await tor.get_info(key))[key]
    except CommandRefused:
        return ""  # tor has none yet


def _parse(statuses: str, descriptors: str) -> list[RelayEntry]:
    return find_boxes(parse_statuses(statuses).values(), parse_descriptors(descriptors))
