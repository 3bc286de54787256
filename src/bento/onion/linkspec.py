"""Link specifiers: how EXTEND2, descriptors and INTRODUCE2 say where a relay is (tor-spec 5.1.2).

Invariant: what was received is passed on byte for byte, unknown types included; what we need of it
(an address, both identities) is checked to be there exactly once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from bento.errors import RemoteProtocolError
from bento.onion.certs import RelayIdentity
from bento.onion.netinfo import Address
from bento.onion.wire import Reader, vector

IPV4, IPV6, RSA, ED25519 = 0, 1, 2, 3
_BYTES = {IPV4: 6, IPV6: 18, RSA: 20, ED25519: 32}
_MAX = 32  # C-tor sends four at most

Specifier = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to extend a circuit to. `specifiers` is what goes into EXTEND2."""

    identity: RelayIdentity
    onion_key: bytes
    specifiers: tuple[Specifier, ...]


def for_relay(
    identity: RelayIdentity, addresses: Sequence[tuple[Address, int]]
) -> tuple[Specifier, ...]:
    """Specifiers in C-tor's order: IPv4, RSA, Ed25519, IPv6."""
    by_kind: dict[int, bytes] = {}
    for address, port in addresses:
        kind = IPV4 if address.version == 4 else IPV6
        by_kind.setdefault(kind, address.packed + port.to_bytes(2, "big"))
    rows = [(RSA, identity.rsa), (ED25519, identity.ed25519)]
    if IPV4 in by_kind:
        rows.insert(0, (IPV4, by_kind[IPV4]))
    if IPV6 in by_kind:
        rows.append((IPV6, by_kind[IPV6]))
    return tuple(rows)


def pack(specifiers: Sequence[Specifier]) -> bytes:
    """A count, then type, length, body of each."""
    rows = (bytes([kind]) + vector(body, 1) for kind, body in specifiers)
    return bytes([len(specifiers)]) + b"".join(rows)


def read(reader: Reader) -> tuple[Specifier, ...]:
    """Reads packed specifiers from `reader`; known types must have their size."""
    count = reader.uint(1)
    if count > _MAX:
        raise RemoteProtocolError(f"a relay is described by {count} link specifiers")
    rows = tuple((reader.uint(1), reader.vector(1)) for _ in range(count))
    for kind, body in rows:
        if kind in _BYTES and len(body) != _BYTES[kind]:
            raise RemoteProtocolError("a link specifier has the wrong size")
    return rows


def target(specifiers: tuple[Specifier, ...], onion_key: bytes) -> Target:
    """Checks that they name one relay with an address, as C-tor demands of an INTRODUCE2."""
    found: dict[int, bytes] = {}
    for kind, body in specifiers:
        if kind in _BYTES and kind in found:
            raise RemoteProtocolError("link specifiers name two relays")
        found[kind] = body
    if not (IPV4 in found or IPV6 in found) or RSA not in found or ED25519 not in found:
        raise RemoteProtocolError("link specifiers do not say which relay is meant")
    return Target(RelayIdentity(found[RSA], found[ED25519]), onion_key, specifiers)


def addresses(specifiers: Sequence[Specifier]) -> list[tuple[Address, int]]:
    """The addresses among them, with their ports."""
    return [
        (ipaddress.ip_address(body[:-2]), int.from_bytes(body[-2:], "big"))
        for kind, body in specifiers
        if kind in (IPV4, IPV6)
    ]
