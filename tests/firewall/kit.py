"""What the unit tests share: an opened filter, a conversation with it, names and addresses."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

from bento.firewall import Grants, Settings
from bento.firewall.filter import FunctionFilter, Output, ToGuest, ToTor

KEY = "0123456789abcdef0123456789abcdef"
STRANGER = "fedcba9876543210fedcba9876543210"
OWN_RELAY = "B" * 40
RELAYS = tuple(f"{number:040X}" for number in range(1, 12))
ONION_SOCKET = "/run/bento/f1/onion"
PORT_SOCKET = "/run/bento/f1/onion-8080"
ALL = Grants.everything()
SECRET_KEY = base64.b64encode(bytes(range(64))).decode()
CLIENT_KEY = "AFZQOT2WH4JPPOCCLOS3QFIEBWHDCB3VOJWV7DHGFBZBMZAJDXEA"


def address(seed: int) -> str:
    """A valid version 3 onion address."""
    key = bytes([seed]) * 32
    check = hashlib.sha3_256(b".onion checksum" + key + b"\x03").digest()[:2]
    return base64.b32encode(key + check + b"\x03").decode().lower()


OWN_SERVICE, OTHER_SERVICE = address(1), address(2)

SETTINGS = Settings(
    isolation_key=KEY,
    grants=ALL,
    tor_version="0.4.9.11",
    own_relays=frozenset({OWN_RELAY}),
    socks_listeners=("127.0.0.1:9050",),
    onion_socket=ONION_SOCKET,
    onion_ports={8080: PORT_SOCKET},
)


def settings(*tor_line: str, **changes: object) -> Settings:
    """Settings of a function whose manifest has this `tor` line (all, if there is none)."""
    grants = Grants.parse(tor_line) if tor_line else ALL
    return replace(SETTINGS, grants=grants, **changes)


def sent(outputs: list[Output]) -> list[str]:
    """The commands for tor, one string each."""
    return [out.data.decode().removesuffix("\r\n") for out in outputs if isinstance(out, ToTor)]


def told(outputs: list[Output]) -> str:
    """Everything for the function."""
    return b"".join(out.data for out in outputs if isinstance(out, ToGuest)).decode()


class Talk:
    """A conversation: `say` as the function, `tor` as tor. Time stands still unless moved."""

    def __init__(self, chosen: Settings = SETTINGS, login: bool = True) -> None:
        self.now = 1000.0
        self.filter = FunctionFilter(chosen, self.now)
        assert sent(self.filter.start()) == ["SETEVENTS CIRC STREAM"]
        assert self.filter.from_tor(b"250 OK\r\n", self.now) == []
        if login:
            assert told(self.say("AUTHENTICATE")) == "250 OK\r\n"

    def say(self, *lines: str) -> list[Output]:
        data = "".join(line + "\r\n" for line in lines)
        return self.filter.from_guest(data.encode("utf-8", "surrogateescape"), self.now)

    def tor(self, *lines: str) -> list[Output]:
        return self.filter.from_tor("".join(line + "\r\n" for line in lines).encode(), self.now)

    def command(self, line: str, *answer: str) -> str:
        """One command that goes to tor, tor's answer, and what the function is told."""
        assert len(sent(self.say(line))) == 1, line
        return told(self.tor(*answer))

    def with_objects(self) -> Talk:
        """Own: circuit 5 (three hops, built), stream 11, service. Another's: 6, 12, service."""
        path = ",".join("$" + relay for relay in RELAYS[:3])
        self.command(f"EXTENDCIRCUIT 0 {path}", "250 EXTENDED 5")
        self.tor(f"650 CIRC 5 BUILT {path} PURPOSE=CONTROLLER", f"650 CIRC 6 BUILT {path}")
        self.tor(f'650 STREAM 11 NEW 0 web.test:80 SOCKS_USERNAME="{KEY}"')
        self.tor(f'650 STREAM 12 NEW 0 web.test:80 SOCKS_USERNAME="{STRANGER}"')
        return self.with_objects_of_service()

    def with_objects_of_service(self) -> Talk:
        """The service alone."""
        self.command(
            "ADD_ONION NEW:ED25519-V3 Port=80",
            f"250-ServiceID={OWN_SERVICE}",
            f"250-PrivateKey=ED25519-V3:{SECRET_KEY}",
            "250 OK",
        )
        return self
