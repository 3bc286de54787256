"""Printable lines that hold all that is needed to use, end or rejoin an instance.

    bento1…      Ticket           invoke: box, key, invocation token
    bentoend1…   ShutdownTicket   end it: box, key, shutdown token
    bentoses1…   SessionTicket    go on with one session: a ticket, the session's name, the owner's proof

Each is base32 of a version byte, fixed-size parts and a check, lower case without padding: it
survives chat and paper. The check is the start of a SHA-256, so a line typed wrong is told apart from a box
that does not know it. `ticket` lines are secrets: whoever has one can use it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import ClassVar, Self

from bento.errors import UsageError
from bento.protocol import limits

_VERSION = 1
_CHECK = 4  # bytes: 1 in 4 billion altered lines passes, and then names no instance
_TYPO = "copy it again, whole"
_BOX, _KEY = 20, 32


@dataclass(frozen=True)
class _Line:
    """`box` is the relay's 20-byte identity digest, `key` the SHA-256 of the box's key."""

    PREFIX: ClassVar[str]
    SIZES: ClassVar[tuple[int, ...]]
    NOUN: ClassVar[str]

    def _parts(self) -> tuple[bytes, ...]:
        return tuple(vars(self).values())

    def __post_init__(self) -> None:
        if tuple(map(len, self._parts())) != self.SIZES:
            raise ValueError(f"the parts of a {self.NOUN} have {self.SIZES} bytes")

    def encode(self) -> str:
        body = bytes([_VERSION]) + b"".join(self._parts())
        text = base64.b32encode(body + self._check(body)).decode()
        return self.PREFIX + text.lower().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError when the line is not a whole, unaltered one of this sort."""
        text = "".join(text.split()).lower()
        if not text.startswith(cls.PREFIX):
            raise UsageError(f"this is no {cls.NOUN}", f"a {cls.NOUN} begins with {cls.PREFIX}")
        encoded = text[len(cls.PREFIX) :].upper()
        try:
            raw = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
        except ValueError:
            raise UsageError(f"the {cls.NOUN} holds characters that none has", _TYPO) from None
        body, check = raw[:-_CHECK], raw[-_CHECK:]
        canonical = base64.b32encode(raw).decode().rstrip("=") == encoded
        if not body or check != cls._check(body) or not canonical:
            raise UsageError(f"the {cls.NOUN} is incomplete or was altered", _TYPO)
        if body[0] != _VERSION or len(body) != 1 + sum(cls.SIZES):
            raise UsageError(f"the {cls.NOUN} is of another version", "use a newer bento")
        parts, at = [], 1
        for size in cls.SIZES:
            parts.append(body[at : at + size])
            at += size
        return cls(*parts)

    @classmethod
    def _check(cls, body: bytes) -> bytes:
        return hashlib.sha256(cls.PREFIX.encode() + body).digest()[:_CHECK]


@dataclass(frozen=True)
class Ticket(_Line):
    PREFIX = "bento1"
    SIZES = (_BOX, _KEY, limits.TOKEN)
    NOUN = "ticket"

    box: bytes
    key: bytes
    token: bytes = field(repr=False)


@dataclass(frozen=True)
class ShutdownTicket(_Line):
    PREFIX = "bentoend1"
    SIZES = (_BOX, _KEY, limits.TOKEN)
    NOUN = "shutdown token"

    box: bytes
    key: bytes
    token: bytes = field(repr=False)


@dataclass(frozen=True)
class SessionTicket(_Line):
    """`owner` is all zero for somebody who did not install the function."""

    PREFIX = "bentoses1"
    SIZES = (_BOX, _KEY, limits.TOKEN, limits.SESSION_ID, limits.OWNER)
    NOUN = "session"

    box: bytes
    key: bytes
    token: bytes = field(repr=False)
    session: bytes = field(repr=False)
    owner: bytes = field(repr=False)
