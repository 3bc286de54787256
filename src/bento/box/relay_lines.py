"""What a relay's torrc must say for a box, from the box's configuration; and whether its tor does."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.box.beside import local_addresses
from bento.box.identity import load
from bento.errors import TorError
from bento.tor.announcement import DEFAULT_HOST, RELAY_HOST, Announcement
from bento.tor.exit_policy import ExitPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bento.box.config import Config
    from bento.tor.controller import Controller

Holds = tuple[str, bool | None, str]
"""(what, whether it holds: None if that cannot be told, how or what to do)"""


@dataclass(frozen=True)
class Expected:
    """`announcement` is None before the first start, when the box's keys are made."""

    control: str
    circuit: tuple[str, int] | None
    single_hop: bool
    direct: bool
    announcement: Announcement | None

    @classmethod
    def of(cls, config: Config) -> Expected:
        """Makes no keys. Raises HostError when those that are there cannot be read."""
        circuit, onion = config.entrance.circuit, config.entrance.onion
        identity = load(config.state)
        announcement = None
        if identity is not None:
            announcement = Announcement(
                port=circuit.port if circuit else 0,
                host=RELAY_HOST if circuit and circuit.address != DEFAULT_HOST else "",
                onion=identity.onion if onion else "",
                key=identity.key_hash,
            )
        return cls(
            control=config.tor.relay_control,
            circuit=(circuit.address, circuit.port) if circuit else None,
            single_hop=onion is not None and onion.single_hop,
            direct=config.egress.via == "direct",
            announcement=announcement,
        )

    @property
    def torrc(self) -> list[str]:
        """The lines an operator needs, in tor's own words."""
        path = self.control.removeprefix("unix:")
        kind = "ControlSocket" if path != self.control else "ControlPort"
        lines = [f"{kind} {path}", "CookieAuthentication 1"]
        if self.single_hop:
            lines += [
                *("HiddenServiceSingleHopMode 1", "HiddenServiceNonAnonymousMode 1"),
                "SocksPort 0  # which the two lines above insist on",
            ]
        if self.circuit:
            address, port = self.circuit
            if ipaddress.ip_address(address).is_loopback:
                lines.append("ExitPolicyRejectPrivate 0")
            lines += ["ExitRelay 1", f"ExitPolicy accept {address}:{port}"]
            before = (
                "before it, what functions may reach" if self.direct else "or your usual policy"
            )
            lines.append(f"ExitPolicy reject *:*  # {before}")
        if self.announcement is None:
            return [*lines, "# ContactInfo: bentod check tells its words after the first start"]
        return [*lines, f"ContactInfo you@example.org {self.announcement.contact_info()}"]


async def compare(tor: Controller, expected: Expected) -> list[Holds]:
    """Every line against the running tor. Raises TorError if tor goes away."""
    return [holds for look in _LOOKS for holds in await look(tor, expected)]


async def _option(tor: Controller, name: str) -> str:
    return (await tor.command(f"GETCONF {name}")).text.partition("=")[2]


async def _relay(tor: Controller, expected: Expected) -> list[Holds]:
    port = await _option(tor, "ORPort")
    is_relay = port not in ("", "0")
    return [
        ("it is a relay", is_relay, f"ORPort {port}" if is_relay else "set ORPort in its torrc")
    ]


async def _circuit(tor: Controller, expected: Expected) -> list[Holds]:
    if expected.circuit is None:
        return []
    address, port = expected.circuit
    ip = ipaddress.ip_address(address)
    line = f"ExitPolicy accept {address}:{port}"
    allowed = False
    with contextlib.suppress(TorError):  # it is no relay, and has no policy
        text = (await tor.get_info("exit-policy/full"))["exit-policy/full"]
        allowed = ExitPolicy.parse(text).allows(ip, port)
    here = ip.is_loopback or ip in local_addresses()
    return [
        (line, allowed, "in force" if allowed else f"add, before every other one: {line}"),
        (
            f"the address {address}",
            here,
            "this machine's own" if here else f"ip address add {address}/32 dev lo",
        ),
    ]


async def _single_hop(tor: Controller, expected: Expected) -> list[Holds]:
    if not expected.single_hop:
        return []
    is_set = await _option(tor, "HiddenServiceSingleHopMode") == "1"
    lines = "HiddenServiceSingleHopMode 1 and HiddenServiceNonAnonymousMode 1"
    return [("single-hop onion entrance", is_set, "in force" if is_set else f"add: {lines}")]


async def _contact(tor: Controller, expected: Expected) -> list[Holds]:
    if expected.announcement is None:
        return [
            ("ContactInfo", None, "the box's keys are made at the first start: check again then")
        ]
    words = expected.announcement.contact_info()
    try:
        announced = Announcement.parse(await _option(tor, "ContactInfo"))
    except TorError as error:
        return [("ContactInfo", False, f"{error.detail}; it must have: {words}")]
    if announced is None:
        return [("ContactInfo", False, f"it announces no box; add: {words}")]
    if announced != expected.announcement:
        return [("ContactInfo", False, f"it announces another box; it must have: {words}")]
    return [("ContactInfo", True, "announces this box")]


_LOOKS: tuple[Callable[[Controller, Expected], Awaitable[list[Holds]]], ...] = (
    _relay,
    _circuit,
    _single_hop,
    _contact,
)
