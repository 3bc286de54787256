"""Where the relays of a consensus take links: addresses and ports, and whether one is among them.

Read from the router status entries that tor gives (dir-spec 3.4.1: the lines `r` and `a`). tor has
verified them; here they are still bounded, and what cannot be read is nobody's ORPort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from bento.egress.addresses import IPAddress, canonical
from bento.egress.limits import MAX_OR_PORTS

_R_WORDS = (8, 9)  # r nickname identity [digest] date time IPv4 ORPort DirPort


@dataclass(frozen=True, slots=True, repr=False)
class OrPorts:
    """A set of endpoints, each as the bytes of address and port: a tenth of what objects take."""

    endpoints: frozenset[bytes] = frozenset()

    @classmethod
    def parse(cls, entries: str) -> OrPorts:
        """Of the text of `GETINFO ns/all` or a NEWCONSENSUS event; at most MAX_OR_PORTS of them."""
        found: set[bytes] = set()
        for endpoint in _endpoints(entries):
            if len(found) == MAX_OR_PORTS:
                break
            found.add(endpoint)
        return cls(frozenset(found))

    def have(self, ip: IPAddress, port: int) -> bool:
        return _packed(canonical(ip), port) in self.endpoints

    def __len__(self) -> int:
        return len(self.endpoints)

    def __repr__(self) -> str:
        return f"OrPorts({len(self)} of them)"


NONE_KNOWN = OrPorts()


def _endpoints(entries: str) -> Iterator[bytes]:
    for line in entries.splitlines():
        kind, _, rest = line.partition(" ")
        try:
            if kind == "r":
                yield _of_r_line(line.split(" "))
            elif kind == "a":
                yield _of_a_line(rest)
        except ValueError:
            continue


def _of_r_line(words: list[str]) -> bytes:
    if len(words) not in _R_WORDS:
        raise ValueError("no r line")
    return _packed(IPv4Address(words[-3]), _port(words[-2]))


def _of_a_line(text: str) -> bytes:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        return _packed(canonical(IPv6Address(host[1:-1])), _port(port))
    return _packed(IPv4Address(host), _port(port))


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError("no port")


def _packed(ip: IPAddress, port: int) -> bytes:
    return ip.packed + port.to_bytes(2, "big")
