"""Printable lines that hold all that is needed to use, end or rejoin an instance.

    bento1…      Ticket           call it: box, token, and what its giver wants known or kept with it
    bentoend1…   ShutdownTicket   end it: box, shutdown token
    bentoses1…   SessionTicket    go on with one session: box, token, the session's name, the owner's proof

Each is base32, lower case without padding, of a version byte, fields (`u8 kind | u16 length | value`, kinds
rising) and a check: it survives chat, paper and QR codes. The check is the start of a SHA-256, so a line
typed wrong is told apart from a box that does not know it. Lines are secrets: whoever has one can use it.

A line without fields behind the token is the common one; the optional ones are `pin` (a conclave's terms,
which its evidence must be bound to), `inner` (the token that the conclave itself checks) and `decryption`
(the key to what the function stores, which no box ever sees).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Self

from bento.errors import RemoteProtocolError, UsageError
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, AtBox, Caveat, Only, Runs

_VERSION = 2
_CHECK = 4  # bytes: 1 in 4 billion altered lines passes, and then names no instance
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
_TYPO = "copy it again, whole"
_NEWER = "use a newer bento"
_NONE = b""  # a field that is not there
_TOKENS = {"token", "inner"}  # the fields that are capabilities


def _part(kind: int, size: int | None) -> dict[str, int | None]:
    """A field of `size` bytes (None: any), called `kind` in the line."""
    return {"kind": kind, "size": size}


@dataclass(frozen=True)
class _Line:
    """`box` is the identity digest of the box's relay; the token names the box's key and the function."""

    PREFIX: ClassVar[str]
    NOUN: ClassVar[str]

    box: bytes = field(metadata=_part(1, 20))
    token: Capability = field(repr=False, metadata=_part(2, None))

    def __post_init__(self) -> None:
        for item in fields(self):
            value, size = getattr(self, item.name), item.metadata["size"]
            if size is not None and len(value) != size and (value or item.default is MISSING):
                raise ValueError(f"the {item.name} of a {self.NOUN} has {size} bytes")
        if len({item.key for item in self.token.caveats if isinstance(item, AtBox)}) != 1:
            raise ValueError(f"the token of a {self.NOUN} names exactly one box")

    @property
    def key(self) -> bytes:
        """The SHA-256 of the box's key."""
        return next(item.key for item in self.token.caveats if isinstance(item, AtBox))

    @property
    def function(self) -> bytes | None:
        """The SHA-256 of the code the token is bound to."""
        return next((item.function for item in self.token.caveats if isinstance(item, Runs)), None)

    def encode(self) -> str:
        body = bytearray([_VERSION])
        for item in fields(self):
            value = getattr(self, item.name)
            data = value.encode() if isinstance(value, Capability) else value
            if data:
                body += bytes([item.metadata["kind"]]) + len(data).to_bytes(2) + data
        text = base64.b32encode(bytes(body) + self._check(body)).decode()
        return self.PREFIX + text.lower().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError when the line is not a whole, unaltered one of this sort."""
        text = "".join(text.split()).lower()
        if not text.startswith(cls.PREFIX):
            raise UsageError(f"this is no {cls.NOUN}", f"a {cls.NOUN} begins with {cls.PREFIX}")
        body = cls._body(text[len(cls.PREFIX) :].upper())
        if body[0] != _VERSION:
            raise UsageError(f"the {cls.NOUN} is of another version", _NEWER)
        known = {item.metadata["kind"]: item for item in fields(cls)}
        values: dict[str, Any] = {}
        last = 0
        for kind, data in cls._split(body[1:]):
            if kind not in known or kind <= last or not data:
                raise UsageError(f"the {cls.NOUN} holds something this bento does not know", _NEWER)
            values[known[kind].name] = data
            last = kind
        try:
            for name in _TOKENS & values.keys():
                values[name] = Capability.parse(values[name])
            return cls(**values)
        except (TypeError, ValueError, RemoteProtocolError):
            raise UsageError(f"the {cls.NOUN} was not made by bento", "ask for another") from None

    @classmethod
    def _body(cls, encoded: str) -> bytes:
        """What the check vouches for."""
        if not set(encoded) <= _ALPHABET:
            raise UsageError(f"the {cls.NOUN} holds characters that none has", _TYPO)
        try:
            raw = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
        except ValueError:  # no whole bytes have this many characters
            raw = b""
        body, check = raw[:-_CHECK], raw[-_CHECK:]
        canonical = base64.b32encode(raw).decode().rstrip("=") == encoded
        if not body or check != cls._check(body) or not canonical:
            raise UsageError(f"the {cls.NOUN} is incomplete or was altered", _TYPO)
        return body

    @classmethod
    def _split(cls, data: bytes) -> list[tuple[int, bytes]]:
        parts, at = [], 0
        while at < len(data):
            start = at + 3
            end = start + int.from_bytes(data[at + 1 : start])
            if end > len(data) or start > len(data):
                raise UsageError(f"the {cls.NOUN} was not made by bento", "ask for another")
            parts.append((data[at], data[start:end]))
            at = end
        return parts

    @classmethod
    def _check(cls, body: bytes | bytearray) -> bytes:
        return hashlib.sha256(cls.PREFIX.encode() + body).digest()[:_CHECK]

    def narrow(self, *conditions: Caveat) -> Self:
        """The same line with a weaker token, or two. Raises UsageError when there is no room."""
        parts = {item.name: getattr(self, item.name) for item in fields(self)}
        tokens = {name: parts[name] for name in _TOKENS if parts.get(name) is not None}
        weaker = {name: token.narrow(*conditions) for name, token in tokens.items()}
        return type(self)(**{**parts, **weaker})


@dataclass(frozen=True)
class Ticket(_Line):
    PREFIX = "bento1"
    NOUN = "ticket"

    pin: bytes = field(default=_NONE, metadata=_part(3, 32))
    decryption: bytes = field(default=_NONE, repr=False, metadata=_part(4, 32))
    inner: Capability | None = field(default=None, repr=False, metadata=_part(8, None))

    def session(self, name: bytes, owner: bytes) -> SessionTicket:
        """The line for one session: its token attaches, and can start nothing."""
        inner = self.inner and self.inner.narrow(Only(ATTACH))
        token = self.token.narrow(Only(ATTACH))
        return SessionTicket(self.box, token, name, owner, self.pin, inner)


@dataclass(frozen=True)
class ShutdownTicket(_Line):
    PREFIX = "bentoend1"
    NOUN = "shutdown token"


@dataclass(frozen=True)
class SessionTicket(_Line):
    """`owner` is all zero for somebody who did not install the function."""

    PREFIX = "bentoses1"
    NOUN = "session"

    session: bytes = field(repr=False, metadata=_part(5, limits.SESSION_ID))
    owner: bytes = field(repr=False, metadata=_part(6, limits.OWNER))
    pin: bytes = field(default=_NONE, metadata=_part(7, 32))
    inner: Capability | None = field(default=None, repr=False, metadata=_part(8, None))


SORTS: tuple[type[Ticket] | type[ShutdownTicket] | type[SessionTicket], ...] = (
    ShutdownTicket,
    SessionTicket,
    Ticket,
)


def parse_any(text: str) -> Ticket | ShutdownTicket | SessionTicket:
    """A line of any sort. Raises UsageError."""
    begins = "".join(text.split()).lower()
    for sort in SORTS:
        if begins.startswith(sort.PREFIX):
            return sort.parse(text)
    raise UsageError("this is no ticket", "a ticket begins with bento1, bentoend1 or bentoses1")
