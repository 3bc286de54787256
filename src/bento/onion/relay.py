"""Relay messages: what the ends of a circuit say to each other inside RELAY cells (tor-spec 6).

    0        1            3        5        9        11
    command  recognized   stream   digest   length   data, then 4 zeros and random padding

Each body has a packer or a strict parser here; any bytes parse or raise RemoteProtocolError.
"""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion.cells import BODY_BYTES
from bento.onion.netinfo import Address
from bento.onion.wire import Reader, Rows, vector

HEADER = struct.Struct(">BHHIH")
MAX_DATA = BODY_BYTES - HEADER.size  # 498
DIGEST_AT = 5
SENDME_DIGEST_BYTES = 20

_BODY = struct.Struct(">BHHIH498s")
_DATA = Rows(f"{HEADER.size}x{MAX_DATA}s")

_ZEROS_BEFORE_RANDOM = 4  # so that a later protocol can tell padding from data
_TOO_LONG = "a relay cell claims more data than it can hold"
_FULL = MAX_DATA.to_bytes(2, "big")
_SENDME_VERSION = 1
_FLOW_VERSION = 0
_NO_STREAM = 0


class RelayCommand(IntEnum):
    """Commands of relay messages (tor-spec 6.1, rend-spec-v3, proposal 324)."""

    BEGIN = 1
    DATA = 2
    END = 3
    CONNECTED = 4
    SENDME = 5
    EXTEND = 6
    EXTENDED = 7
    TRUNCATE = 8
    TRUNCATED = 9
    DROP = 10
    RESOLVE = 11
    RESOLVED = 12
    BEGIN_DIR = 13
    EXTEND2 = 14
    EXTENDED2 = 15
    ESTABLISH_INTRO = 32
    ESTABLISH_RENDEZVOUS = 33
    INTRODUCE1 = 34
    INTRODUCE2 = 35
    RENDEZVOUS1 = 36
    RENDEZVOUS2 = 37
    INTRO_ESTABLISHED = 38
    RENDEZVOUS_ESTABLISHED = 39
    INTRODUCE_ACK = 40
    PADDING_NEGOTIATE = 41
    PADDING_NEGOTIATED = 42
    XOFF = 43
    XON = 44


_DATA_BYTE = bytes([RelayCommand.DATA])


class EndReason(IntEnum):
    """Why a stream ended (tor-spec 6.3)."""

    MISC = 1
    RESOLVEFAILED = 2
    CONNECTREFUSED = 3
    EXITPOLICY = 4
    DESTROY = 5
    DONE = 6
    TIMEOUT = 7
    NOROUTE = 8
    HIBERNATING = 9
    INTERNAL = 10
    RESOURCELIMIT = 11
    CONNRESET = 12
    TORPROTOCOL = 13
    NOTDIRECTORY = 14


class RelayMessage(NamedTuple):
    """One message; stream 0 speaks of the circuit itself.

    DATA of one stream that arrived together is one message here, of that many `cells`.
    """

    command: int
    stream: int
    data: bytes
    cells: int = 1


def fill(used: int) -> bytes:
    """What stands behind `used` data bytes: four zeros, then random bytes (tor-spec 6.1)."""
    rest = MAX_DATA - used
    if rest <= _ZEROS_BEFORE_RANDOM:
        return bytes(rest)
    return bytes(_ZEROS_BEFORE_RANDOM) + os.urandom(rest - _ZEROS_BEFORE_RANDOM)


def pack_body(message: RelayMessage) -> bytearray:
    """A 509-byte body with an empty digest; LocalProtocolError for more than 498 data bytes."""
    size = len(message.data)
    if size > MAX_DATA:
        raise LocalProtocolError(f"{size} bytes do not fit one relay cell.")
    head = HEADER.pack(message.command, 0, message.stream, 0, size)
    return bytearray(head + message.data + fill(size))


def parse_bodies(bodies: bytes) -> list[RelayMessage]:
    """The messages of recognized bodies; RemoteProtocolError when a length is not possible."""
    count = len(bodies) // BODY_BYTES
    if bodies[0::BODY_BYTES] == _DATA_BYTE * count and _alike(bodies, count):
        return [_parse_data(bodies, count)]
    messages: list[RelayMessage] = []
    for command, _, stream, _, size, data in _BODY.iter_unpack(bodies):
        if size > MAX_DATA:
            raise RemoteProtocolError(_TOO_LONG)
        messages.append(RelayMessage(command, stream, data[:size]))
    return messages


def _alike(bodies: bytes, count: int) -> bool:
    """Whether all bodies are of one stream."""
    high, low = bodies[3::BODY_BYTES], bodies[4::BODY_BYTES]
    return high == high[:1] * count and low == low[:1] * count


def _parse_data(bodies: bytes, count: int) -> RelayMessage:
    """DATA of one stream as one message: full cells are cut out without looking at each."""
    stream = int.from_bytes(bodies[3:5], "big")
    high, low = bodies[9::BODY_BYTES], bodies[10::BODY_BYTES]
    if high == _FULL[:1] * count and low == _FULL[1:] * count:
        return RelayMessage(RelayCommand.DATA, stream, b"".join(_DATA.cut(bodies)), count)
    parts = []
    at = HEADER.size
    for upper, lower in zip(high, low, strict=True):
        size = upper << 8 | lower
        if size > MAX_DATA:
            raise RemoteProtocolError(_TOO_LONG)
        parts.append(bodies[at : at + size])
        at += BODY_BYTES
    return RelayMessage(RelayCommand.DATA, stream, b"".join(parts), count)


class Created(NamedTuple):
    """The reply inside CREATED2 or EXTENDED2."""

    handshake: bytes


def pack_create2(handshake_type: int, skin: bytes) -> bytes:
    """Body of CREATE2, and the tail of EXTEND2 (tor-spec 5.1)."""
    return handshake_type.to_bytes(2, "big") + vector(skin, 2)


def parse_created2(data: bytes) -> Created:
    """CREATED2 is padded to the cell, EXTENDED2 is not: the length inside decides."""
    return Created(Reader(data, "the reply to a circuit extension").vector(2))


def ascii_name(name: str) -> bytes:
    """A host name as bytes; LocalProtocolError unless it is ASCII without zeros."""
    if not name.isascii() or "\0" in name:
        raise LocalProtocolError("a host name has letters that Tor does not carry")
    return name.encode("ascii")


def pack_begin(host: str, port: int, flags: int = 0) -> bytes:
    """Body of BEGIN: `host:port`, a zero, flags (bit 0: IPv6 is fine)."""
    where = f"[{host}]" if ":" in host else host
    text = ascii_name(f"{where}:{port}")
    if not 0 < port < 0x10000 or len(text) > MAX_DATA - 5:
        raise LocalProtocolError("that is no host and port a stream could go to")
    return text + b"\0" + flags.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Begin:
    """Where an incoming stream wants to go; an onion service looks at the port only."""

    host: str
    port: int
    flags: int


def parse_begin(data: bytes) -> Begin:
    """Body of BEGIN as a service gets it; the flags may be absent."""
    text, zero, rest = data.partition(b"\0")
    host, colon, port = text.rpartition(b":")
    if not zero or not colon or not port.isdigit() or len(port) > 5 or not text.isascii():
        raise RemoteProtocolError("a BEGIN names no host and port")
    number = int(port)
    if not 0 < number < 0x10000:
        raise RemoteProtocolError("a BEGIN names no port")
    flags = int.from_bytes(rest[:4], "big") if len(rest) >= 4 else 0
    return Begin(host.decode("ascii").strip("[]"), number, flags)


@dataclass(frozen=True, slots=True)
class Connected:
    """What an exit connected to; both None for onion services and BEGIN_DIR. `ttl` in seconds."""

    address: Address | None
    ttl: int | None


def parse_connected(data: bytes) -> Connected:
    """Body of CONNECTED: empty, or IPv4 and TTL, or four zeros, 6, IPv6 and TTL (tor-spec 6.2)."""
    if not data:
        return Connected(None, None)
    reader = Reader(data, "the CONNECTED message")
    first = reader.take(4)
    if any(first):
        address: Address = ipaddress.IPv4Address(first)
    elif reader.left and reader.uint(1) == 6:
        address = ipaddress.IPv6Address(reader.take(16))
    else:
        raise RemoteProtocolError("the CONNECTED message has an address of an unknown kind")
    return Connected(address, reader.uint(4) if reader.left >= 4 else None)


def parse_end(data: bytes) -> int:
    """The reason in an END; an empty one means MISC, as in C-tor."""
    return data[0] if data else EndReason.MISC


def end_name(reason: int) -> str:
    """The name of an END reason, for people."""
    try:
        return EndReason(reason).name
    except ValueError:
        return f"reason {reason}"


def pack_sendme(digest: bytes) -> bytes:
    """An authenticated circuit-level SENDME (proposal 289)."""
    return bytes([_SENDME_VERSION]) + vector(digest[:SENDME_DIGEST_BYTES], 2)


def pack_sendmes(digests: Sequence[bytes]) -> bytearray:
    """Bodies of circuit-level SENDMEs that leave together, with empty digests of their own."""
    said = [pack_sendme(digest) for digest in digests]
    size = len(said[0])
    head = HEADER.pack(RelayCommand.SENDME, 0, _NO_STREAM, 0, size)
    rest = MAX_DATA - size - _ZEROS_BEFORE_RANDOM
    noise = os.urandom(rest * len(said))
    zeros = bytes(_ZEROS_BEFORE_RANDOM)
    return bytearray().join(
        head + data + zeros + noise[at * rest : (at + 1) * rest] for at, data in enumerate(said)
    )


def parse_sendme(data: bytes) -> bytes:
    """The digest a circuit-level SENDME proves; version 0, which proves nothing, is refused."""
    reader = Reader(data, "the SENDME message")
    if reader.uint(1) != _SENDME_VERSION:
        raise RemoteProtocolError("the SENDME message is of an unknown version")
    digest = reader.vector(2)
    if len(digest) != SENDME_DIGEST_BYTES:
        raise RemoteProtocolError("the SENDME message has a digest of the wrong size")
    return digest


def pack_xoff() -> bytes:
    return bytes([_FLOW_VERSION])


def pack_xon(kilobytes_per_second: int = 0) -> bytes:
    """XON; 0 means without limit (proposal 324, 4.1)."""
    return bytes([_FLOW_VERSION]) + min(kilobytes_per_second, 0xFFFF_FFFF).to_bytes(4, "big")


def parse_xoff(data: bytes) -> None:
    if Reader(data, "the XOFF message").uint(1) != _FLOW_VERSION:
        raise RemoteProtocolError("the XOFF message is of an unknown version")


def parse_xon(data: bytes) -> int:
    """The advised rate in kB/s; 0 is no limit."""
    reader = Reader(data, "the XON message")
    if reader.uint(1) != _FLOW_VERSION:
        raise RemoteProtocolError("the XON message is of an unknown version")
    return reader.uint(4)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to RESOLVE: an address, a name, or an error (`address` and `name` both None)."""

    address: Address | None
    name: str | None
    ttl: int


_IPV4, _IPV6, _NAME = 4, 6, 0
_ERROR_KINDS = frozenset({0xF0, 0xF1})
_ADDRESS_BYTES = {_IPV4: 4, _IPV6: 16}


def parse_resolved(data: bytes) -> list[Answer]:
    """Body of RESOLVED (tor-spec 6.4): type, length, value, TTL, as often as they fit."""
    reader = Reader(data, "the RESOLVED message")
    answers: list[Answer] = []
    while reader.left:
        kind, value, ttl = reader.uint(1), reader.vector(1), reader.uint(4)
        if kind in _ADDRESS_BYTES:
            if len(value) != _ADDRESS_BYTES[kind]:
                raise RemoteProtocolError("the RESOLVED message has an address of a wrong size")
            answers.append(Answer(ipaddress.ip_address(value), None, ttl))
        elif kind == _NAME:
            answers.append(Answer(None, value.decode("ascii", "replace"), ttl))
        elif kind in _ERROR_KINDS:
            answers.append(Answer(None, None, ttl))
    return answers


def circuit_message(command: int, data: bytes = b"") -> RelayMessage:
    """A message about the circuit itself."""
    return RelayMessage(command, _NO_STREAM, data)
