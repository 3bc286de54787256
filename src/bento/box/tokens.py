"""The box's side of capabilities: makes them, checks them, says what is to be counted.

A token's root is HMAC(the box's token key, the token's name), so no table holds a secret: whoever
reads the box's memory of instances (its journal, a backup of it) finds names and counts, and can
neither use nor make a token without the key in `identity.key`. Forgetting a name ends its tokens.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bento.errors import BoxError
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import (
    ATTACH,
    INVOKE,
    SHUTDOWN,
    Asked,
    AtBox,
    Bytes,
    NotAfter,
    Only,
    Runs,
    Uses,
    holder_message,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.protocol.door import Open, Renew, Shutdown
    from bento.safelog import Sensitive

_ROOT = b"bento token root 1\0"
_NO_SESSION = bytes(limits.SESSION_TAG)


@dataclass(frozen=True)
class Count:
    """One counter and what it may not pass."""

    counter: bytes
    limit: int


@dataclass(frozen=True)
class Leave:
    """What a checked token still allows. `uses` and `bytes` are to be counted before their effect."""

    operations: int
    ends: float | None = None  # seconds since 1970
    uses: tuple[Count, ...] = field(default=())
    bytes: tuple[Count, ...] = field(default=())

    @property
    def bounded(self) -> bool:
        """Whether a connection made with it may have to be cut."""
        return self.ends is not None or bool(self.bytes)


class Tokens:
    """`key` is the box's token key, `box` the SHA-256 of its public key, `clock` seconds since 1970."""

    def __init__(
        self, key: Sensitive[bytes], box: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._box = box
        self._clock = clock

    def reserve(self) -> Capability:
        """A new name in the token that will end its instance, before there is one."""
        name = secrets.token_bytes(limits.CAPABILITY_NAME)
        return Capability.mint(self._root(name), name, AtBox(self._box), Only(SHUTDOWN))

    def mint(
        self, function: bytes, reserved: Capability | None = None
    ) -> tuple[bytes, Capability, Capability]:
        """A name with its two tokens: to use the instance, to end it. It is a new name, or the reserved."""
        name = reserved.name if reserved else secrets.token_bytes(limits.CAPABILITY_NAME)
        root = self._root(name)
        conditions = (AtBox(self._box), Runs(function))
        invocation = Capability.mint(root, name, *conditions, Only(INVOKE | ATTACH))
        ends = reserved or Capability.mint(root, name, *conditions, Only(SHUTDOWN))
        return name, invocation, ends

    def check(
        self,
        token: Capability,
        function: bytes | None,
        request: Open | Renew | Shutdown,
        operations: int,
    ) -> Leave:
        """What of `operations` the token allows on the instance that runs `function` (None: there is
        none). Raises BoxError, with one answer for every token this box did not make or has forgotten."""
        counters = token.counters(self._root(token.name))
        if counters is None or function is None:
            raise unknown()
        conditions = token.caveats
        session = getattr(request, "session", _NO_SESSION)
        signed = holder_message(self._box, request.token, operations, session)
        asked = Asked(
            operations,
            self._box,
            function,
            self._clock(),
            lambda key: _is_signed(key, request.proof, signed),
        )
        allowed = judge(conditions, asked)
        ends = [condition.time for condition in conditions if isinstance(condition, NotAfter)]
        pairs = tuple(zip(conditions, counters, strict=True))
        return Leave(
            allowed,
            min(ends, default=None),
            tuple(Count(name, item.limit) for item, name in pairs if isinstance(item, Uses)),
            tuple(Count(name, item.limit) for item, name in pairs if isinstance(item, Bytes)),
        )

    def _root(self, name: bytes) -> bytes:
        return hmac.digest(self._key.reveal(), _ROOT + name, "sha256")


def unknown() -> BoxError:
    """One answer for wrong, altered, ended and never made."""
    return BoxError(
        "the box knows no such token",
        "the instance has ended, or the token was never one of this box's",
    )


def spent() -> BoxError:
    return BoxError("the token's uses are spent", "ask its giver for a new one")


def drained() -> BoxError:
    return BoxError("the token's bytes are used up", "ask its giver for a new one")


def _is_signed(key: bytes, proof: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(proof, message)
    except (InvalidSignature, ValueError):
        return False
    return True
