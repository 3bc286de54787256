"""NETINFO and PADDING_NEGOTIATE: what neighbours tell each other (tor-spec 4.5, padding-spec 2).

Invariant: an address of a type or length we do not know is skipped, as C-tor does, never guessed.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from bento.onion.wire import Reader

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ADDRESS_BYTES = {4: 4, 6: 16}
_NEGOTIATE = struct.Struct(">BBHH")
_NEGOTIATE_VERSION = 0
_STOP, _START = 1, 2


@dataclass(frozen=True, slots=True)
class Netinfo:
    """`timestamp` in s since 1970 (0 from clients), `seen_as` our address as the peer sees it."""

    timestamp: int
    seen_as: Address | None
    own: tuple[Address, ...]


def parse(body: bytes) -> Netinfo:
    """Reads a NETINFO body; the rest of the fixed cell is padding."""
    reader = Reader(body, "the NETINFO cell")
    timestamp = reader.uint(4)
    seen_as = _address(reader)
    own = [_address(reader) for _ in range(reader.uint(1))]
    return Netinfo(timestamp, seen_as, tuple(a for a in own if a is not None))


def pack_for_client(peer: Address) -> bytes:
    """What a client says: no time, the peer's address, no address of its own (as C-tor)."""
    return bytes(4) + bytes([peer.version, len(peer.packed)]) + peer.packed + b"\0"


def pack_padding_stop() -> bytes:
    """PADDING_NEGOTIATE body: please send no link padding."""
    return _NEGOTIATE.pack(_NEGOTIATE_VERSION, _STOP, 0, 0)


def pack_padding_start(low_ms: int = 0, high_ms: int = 0) -> bytes:
    """PADDING_NEGOTIATE body: pad after so much silence (both 0: the network's values)."""
    return _NEGOTIATE.pack(_NEGOTIATE_VERSION, _START, low_ms, high_ms)


def _address(reader: Reader) -> Address | None:
    kind, value = reader.uint(1), reader.vector(1)
    return ipaddress.ip_address(value) if _ADDRESS_BYTES.get(kind) == len(value) else None
