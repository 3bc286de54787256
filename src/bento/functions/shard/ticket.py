"""`bentoshard1…`: where a file's shards are, how they are put together, and the key that opens it. Pure.

Base32 like a ticket: version, need, total, rules (a bit each, diversity.RULES), the sealed file's size, its
key, the root of its hashes, then for each shard its box (20 bytes) and the length and bytes of its token;
last a check. The line is a secret.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field

from bento.errors import RemoteProtocolError, UsageError
from bento.protocol.capability import Capability
from bento.protocol.ticket import Ticket

from .diversity import RULES
from .layout import Plan

PREFIX = "bentoshard1"
_HEAD = struct.Struct(">BBBBQ32s32s")
_SHARD = struct.Struct(">20sH")
_VERSION = 1
_CHECK = 4
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_TYPO = "copy it again, whole"


@dataclass(frozen=True)
class ShardTicket:
    """`shards` are the dropboxes' tickets, in the order of the shards."""

    plan: Plan
    key: bytes = field(repr=False)
    root: bytes
    shards: tuple[Ticket, ...] = field(repr=False)
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shards) != self.plan.total:
            raise ValueError("a ticket names every shard")

    def encode(self) -> str:
        plan = self.plan
        rules = sum(1 << bit for bit, rule in enumerate(RULES) if rule in self.rules)
        body = _HEAD.pack(_VERSION, plan.need, plan.total, rules, plan.size, self.key, self.root)
        for shard in self.shards:
            token = shard.token.encode()
            body += _SHARD.pack(shard.box, len(token)) + token
        return PREFIX + base64.b32encode(body + _check(body)).decode().lower().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> ShardTicket:
        """Raises UsageError when the line is not a whole, unaltered one."""
        body = _body("".join(text.split()).lower())
        try:
            version, need, total, rules, size, key, root = _HEAD.unpack_from(body)
            if version != _VERSION or rules >> len(RULES):
                raise UsageError("the shard ticket is of another version", "use a newer bento")
            return cls(
                Plan(need, total, size),
                key,
                root,
                _shards(body[_HEAD.size :], total),
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


def _shards(data: bytes, total: int) -> tuple[Ticket, ...]:
    found = []
    for _ in range(total):
        box, length = _SHARD.unpack_from(data)
        token = data[_SHARD.size :][:length]
        found.append(Ticket(box, Capability.parse(token)))
        data = data[_SHARD.size + length :]
    if data:
        raise ValueError("bytes follow the last shard")
    return tuple(found)


def _check(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + body).digest()[:_CHECK]
