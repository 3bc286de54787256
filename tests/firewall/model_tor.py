"""A small model of tor behind several filters, which remembers whose everything is.

It is stricter than tor: a line that is not in one of the forms below, or that names an object of
another function, is a breach and is kept. Circuits and streams are global, as in tor; onion
services belong to a connection.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, count

from tests.firewall.kit import ONION_SOCKET, OWN_RELAY, address

RELAY = r"\$[0-9A-F]{40}"
INFO = r"(?:circuit-status|stream-status|onions/current|sr/\w+|consensus/[\w-]+|(?:ns|md)/all|"
INFO += r"ip-to-country/\d+\.\d+\.\d+\.\d+|dir/status-vote/current/consensus(?:-microdesc)?|"
INFO += r"(?:ns|md|desc)/(?:id/[0-9A-F]{40}|name/[0-9A-Za-z]{1,19}))"
EVENT = r"(?:CIRC|CIRC_BW|CIRC_MINOR|HS_DESC|HS_DESC_CONTENT|STREAM|STREAM_BW)"
ONION = r"[a-z2-7]{56}"
FORMS = {
    "SETEVENTS": rf"SETEVENTS(?: {EVENT})+",
    "GETINFO": rf"GETINFO(?: {INFO})+",
    "EXTENDCIRCUIT": rf"EXTENDCIRCUIT (?:0 {RELAY}(?:,{RELAY}){{1,7}} purpose=controller|0 purpose=general"
    rf"|\d+ {RELAY}(?:,{RELAY}){{0,6}})",
    "SETCIRCUITPURPOSE": r"SETCIRCUITPURPOSE \d+ purpose=controller",
    "CLOSECIRCUIT": r"CLOSECIRCUIT \d+(?: IfUnused)?",
    "ATTACHSTREAM": r"ATTACHSTREAM \d+ \d+",
    "CLOSESTREAM": r"CLOSESTREAM \d+ \d+",
    "ADD_ONION": r"ADD_ONION (?:NEW:ED25519-V3|ED25519-V3:[A-Za-z0-9+/]{86}==) "
    r"Flags=(?:DiscardPK,)?MaxStreamsCloseCircuit(?:,V3Auth)? MaxStreams=\d{1,2} "
    r"PoWDefensesEnabled=1 PoWQueueRate=20 PoWQueueBurst=40"
    rf"(?: Port=\d+,unix:{ONION_SOCKET}(?:-8080)?)+(?: ClientAuthV3=[A-Z2-7]{{52}})*",
    "DEL_ONION": rf"DEL_ONION {ONION}",
    "HSFETCH": rf"HSFETCH {ONION}(?: SERVER={RELAY})*",
    "+HSPOST": rf"\+HSPOST (?:SERVER={RELAY} )*HSADDRESS={ONION}\r\n(?:[ -~]*\r\n)*\.",
}
COMPILED = {name: re.compile(form) for name, form in FORMS.items()}


@dataclass
class Peer:
    """One control connection: the name and isolation key of its function, and what it hears."""

    name: str
    key: str
    events: frozenset[str] = frozenset()
    out: deque[bytes] = field(default_factory=deque)
    addresses: set[str] = field(default_factory=set)


class ModelTor:
    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = chain(numbers, count(101))
        self.peers: dict[str, Peer] = {}
        self.circuits: dict[int, str] = {}
        self.streams: dict[int, str] = {}
        self.services: dict[str, str] = {}
        self.breaches: list[str] = []

    def connect(self, name: str, key: str) -> Peer:
        peer = self.peers[name] = Peer(name, key)
        return peer

    def disconnect(self, name: str) -> None:
        del self.peers[name]
        self.services = {a: owner for a, owner in self.services.items() if owner != name}

    # -- what happens by itself ----------------------------------------------------------------

    def open_stream(self, name: str, key: str) -> int:
        number = self._next()
        self.streams[number] = name
        self._tell("STREAM", f'STREAM {number} NEW 0 host:80 SOCKS_USERNAME="{key}.{name}"')
        return number

    def tick(self) -> None:
        """A second passes: everything open is reported, to everybody, as tor does."""
        for number in self.circuits:
            self._tell("CIRC_BW", f"CIRC_BW ID={number} READ=1 WRITTEN=1")
        for number in self.streams:
            self._tell("STREAM_BW", f"STREAM_BW {number} 1 1 0")
        for onion in self.services:
            self._tell("HS_DESC", f"HS_DESC UPLOADED {onion} UNKNOWN $A~b")

    # -- commands ------------------------------------------------------------------------------

    def command(self, peer: Peer, wire: bytes) -> None:
        text = wire.decode().removesuffix("\r\n")
        keyword, _, rest = text.partition(" ")
        form = COMPILED.get(keyword)
        forbidden = keyword == "EXTENDCIRCUIT" and OWN_RELAY in text
        if form is None or not form.fullmatch(text) or forbidden:
            self.breaches.append(text)
            peer.out.append(b"510 no\r\n")
            return
        words = rest.split()
        answer = getattr(self, "_" + keyword.strip("+").lower())(peer, words)
        peer.out.extend(line.encode() + b"\r\n" for line in answer)
        self._flush()

    def _setevents(self, peer: Peer, words: list[str]) -> list[str]:
        peer.events = frozenset(words)
        return ["250 OK"]

    def _getinfo(self, peer: Peer, words: list[str]) -> list[str]:
        values = {
            "circuit-status": [
                f"{n} BUILT PURPOSE=CONTROLLER" + self._user(name)
                for n, name in self.circuits.items()
            ],
            "stream-status": [
                f"{n} SUCCEEDED 0 host:80" + self._user(name) for n, name in self.streams.items()
            ],
            "onions/current": [a for a, owner in self.services.items() if owner == peer.name],
        }
        lines = []
        for key in words:
            lines += [f"250+{key}=", *values.get(key, ["public"]), "."]
        return [*lines, "250 OK"]

    def _user(self, name: str) -> str:
        peer = self.peers.get(name)
        return f' SOCKS_USERNAME="{peer.key}"' if peer and len(name) % 2 else ""

    def _extendcircuit(self, peer: Peer, words: list[str]) -> list[str]:
        number = int(words[0])
        if number == 0:
            number = self._next()
            self.circuits[number] = peer.name
            self._later = [
                ("CIRC", f"CIRC {number} LAUNCHED"),
                ("CIRC", f"CIRC {number} BUILT $A~b"),
            ]
        elif not self._owned(peer, self.circuits, number):
            return [f'552 Unknown circuit "{number}"']
        return [f"250 EXTENDED {number}"]

    def _setcircuitpurpose(self, peer: Peer, words: list[str]) -> list[str]:
        if not self._owned(peer, self.circuits, int(words[0])):
            return [f'552 Unknown circuit "{words[0]}"']
        return ["250 OK"]

    def _closecircuit(self, peer: Peer, words: list[str]) -> list[str]:
        number = int(words[0])
        if not self._owned(peer, self.circuits, number):
            return [f'552 Unknown circuit "{number}"']
        if words[1:] == ["IfUnused"]:
            return ["250 OK"]
        del self.circuits[number]
        self._later = [("CIRC", f"CIRC {number} CLOSED REASON=REQUESTED")]
        return ["250 OK"]

    def _attachstream(self, peer: Peer, words: list[str]) -> list[str]:
        stream, circuit = int(words[0]), int(words[1])
        if not self._owned(peer, self.streams, stream):
            return [f'552 Unknown stream "{stream}"']
        if circuit and not self._owned(peer, self.circuits, circuit):
            return [f'552 Unknown circuit "{circuit}"']
        self._later = [("STREAM", f"STREAM {stream} SENTCONNECT {circuit} host:80")]
        return ["250 OK"]

    def _closestream(self, peer: Peer, words: list[str]) -> list[str]:
        stream = int(words[0])
        if not self._owned(peer, self.streams, stream):
            return [f'552 Unknown stream "{stream}"']
        del self.streams[stream]
        self._later = [("STREAM", f"STREAM {stream} CLOSED 0 host:80 REASON=DONE")]
        return ["250 OK"]

    def _add_onion(self, peer: Peer, words: list[str]) -> list[str]:
        onion = address(self._next() % 250)
        self.services[onion] = peer.name
        peer.addresses.add(onion)
        self._later = [("HS_DESC", f"HS_DESC CREATED {onion} UNKNOWN UNKNOWN")]
        return [f"250-ServiceID={onion}", "250 OK"]

    def _del_onion(self, peer: Peer, words: list[str]) -> list[str]:
        if not self._owned(peer, self.services, words[0]):
            return ["552 Unknown Onion Service id"]
        del self.services[words[0]]
        return ["250 OK"]

    def _hsfetch(self, peer: Peer, words: list[str]) -> list[str]:
        return ["250 OK"]

    def _hspost(self, peer: Peer, words: list[str]) -> list[str]:
        named = next(word for word in words if word.startswith("HSADDRESS="))
        if named.removeprefix("HSADDRESS=") not in peer.addresses:
            self.breaches.append("HSPOST " + named)
        return ["250 OK"]

    # -- inside --------------------------------------------------------------------------------

    _later: list[tuple[str, str]] = []

    def _owned(self, peer: Peer, table: dict, key: object) -> bool:
        owner = table.get(key)
        if owner is not None and owner != peer.name:
            self.breaches.append(f"{peer.name} touched {key} of {owner}")
        return owner == peer.name

    def _flush(self) -> None:
        later, self._later = self._later, []
        for keyword, line in later:
            self._tell(keyword, line)

    def _tell(self, keyword: str, line: str) -> None:
        for peer in self.peers.values():
            if keyword in peer.events:
                peer.out.append(f"650 {line}\r\n".encode())

    def _next(self) -> int:
        return next(self._numbers)
