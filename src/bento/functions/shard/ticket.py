"""`bentoshard1…`: where a file's shards are, how they are put together, and the key that opens it. Pure.

Base32 like a ticket: version, need, total, rules (a bit each, diversity.RULES), the sealed file's size, its
key, the root of its hashes, then for each shard its box (20 bytes) and the length and bytes of its token;
last a check. Version 2 is for shards in conclaves: behind each token stand its pin (32 bytes) and the length
and bytes of its inner token. The line is a secret.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from typing import ClassVar

from bento.errors import RemoteProtocolError, UsageError
from bento.protocol.capability import Capability
from bento.protocol.ticket import Ticket

from .diversity import RULES
from .layout import Plan

PREFIX = "bentoshard1"
_HEAD = struct.Struct(">BBBBQ32s32s")
_SHARD = struct.Struct(">20sH")
_PIN = 32  # bytes
_LENGTH = struct.Struct(">H")
_OPEN, _ENCLOSED = 1, 2  # versions
_CHECK = 4
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_TYPO = "copy it again, whole"


@dataclass(frozen=True)
class ShardTicket:
    """`shards` are the dropboxes' tickets, in the order of the shards."""

    NOUN: ClassVar[str] = "shard ticket"

    plan: Plan
    key: bytes = field(repr=False)
    root: bytes
    shards: tuple[Ticket, ...] = field(repr=False)
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shards) != self.plan.total:
            raise ValueError("a ticket names every shard")
        if len({bool(shard.pin) for shard in self.shards}) > 1:
            raise ValueError("all shards are in conclaves, or none")

    @property
    def enclosed(self) -> bool:
        """Whether the shards are kept in conclaves."""
        return bool(self.shards[0].pin)

    def encode(self) -> str:
        plan = self.plan
        rules = sum(1 << bit for bit, rule in enumerate(RULES) if rule in self.rules)
        version = _ENCLOSED if self.enclosed else _OPEN
        body = _HEAD.pack(version, plan.need, plan.total, rules, plan.size, self.key, self.root)
        for shard in self.shards:
            token = shard.token.encode()
            body += _SHARD.pack(shard.box, len(token)) + token + _inside(shard)
        return PREFIX + base64.b32encode(body + _check(body)).decode().lower().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> ShardTicket:
        """Raises UsageError when the line is not a whole, unaltered one."""
        body = _body("".join(text.split()).lower())
        try:
            version, need, total, rules, size, key, root = _HEAD.unpack_from(body)
            if version not in (_OPEN, _ENCLOSED) or rules >> len(RULES):
                raise UsageError("the shard ticket is of another version", "use a newer bento")
            return cls(
                Plan(need, total, size),
                key,
                root,
                _shards(body[_HEAD.size :], total, enclosed=version == _ENCLOSED),
                tuple(rule for bit, rule in enumerate(RULES) if rules >> bit & 1),
            )
        except (struct.error, ValueError, RemoteProtocolError):
            raise UsageError("the shard ticket was not made by bento", "ask for another") from None


def is_shard_ticket(text: str) -> bool:
    return "".join(text.split()).lower().startswith(PREFIX)


def _body(text: str) -> bytes:
    """What the check vouches for."""
    if not text.startswith(PREFIX):
        raise UsageError("this is no shard ticket", f"one begins with {PREFIX}")
    encoded = text.removeprefix(PREFIX)
    if not _ALPHABET.issuperset(encoded):
        raise UsageError("the shard ticket holds characters that none has", _TYPO)
    try:
        raw = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
    except ValueError:  # no whole bytes have this many characters
        raw = b""
    body, check = raw[:-_CHECK], raw[-_CHECK:]
    canonical = base64.b32encode(raw).decode().lower().rstrip("=") == encoded
    if not body or check != _check(body) or not canonical:
        raise UsageError("the shard ticket is incomplete or was altered", _TYPO)
    return body


def _inside(shard: Ticket) -> bytes:
    """What a conclave adds to a shard."""
    if not shard.pin:
        return b""
    inner = shard.inner.encode() if shard.inner is not None else b""
    return shard.pin + _LENGTH.pack(len(inner)) + inner


def _shards(data: bytes, total: int, *, enclosed: bool) -> tuple[Ticket, ...]:
    found = []
    for _ in range(total):
        box, length = _SHARD.unpack_from(data)
        token, data = _split(data[_SHARD.size :], length)
        pin, inner = b"", None
        if enclosed:
            pin, data = _split(data, _PIN)
            head, data = _split(data, _LENGTH.size)
            encoded, data = _split(data, *_LENGTH.unpack(head))
            inner = Capability.parse(encoded) if encoded else None
        found.append(Ticket(box, Capability.parse(token), pin, inner=inner))
    if data:
        raise ValueError("bytes follow the last shard")
    return tuple(found)


def _split(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise ValueError("a shard is cut short")
    return data[:size], data[size:]


def _check(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + body).digest()[:_CHECK]
