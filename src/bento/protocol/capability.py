"""A capability: what a token is, how anybody weakens one offline, how its maker checks it.

    name | caveat … | seal            seal(0) = HMAC(root, label, name)
                                      seal(i) = HMAC(seal(i - 1), caveat i)

Only the last seal travels (the construction of macaroons, Birgisson et al., NDSS 2014). So whoever has
a capability can put one more caveat behind it, and nobody can take one away, change its place or make a
capability from nothing: each is as hard as inverting or forging HMAC-SHA256. The root never leaves its
maker: the box, or the guest of a conclave, which is why nothing but the standard library is used here.

Any bytes give a capability or RemoteProtocolError. What the caveats mean is in `caveats`; a kind that is
not known there survives narrowing and encoding, and is refused when the capability is used.
"""

from __future__ import annotations

from hmac import compare_digest, digest

from bento.errors import RemoteProtocolError, UsageError
from bento.protocol import caveats, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.protocol.caveats import Caveat

SEAL = 32
"""Bytes of an HMAC-SHA256."""

_LABEL = b"bento capability 1\0"
_COUNTER = b"bento counter 1\0"


class Capability:
    """`name` finds its root and opens nothing; `raw` are its caveats as they travel; `seal` is secret."""

    __slots__ = ("name", "raw", "seal")

    def __init__(self, name: bytes, raw: tuple[bytes, ...], seal: bytes) -> None:
        self.name = name
        self.raw = raw
        self.seal = seal

    @classmethod
    def mint(cls, root: bytes, name: bytes, *conditions: Caveat) -> Capability:
        """The capability `name` under `root`, born with `conditions`."""
        return cls(name, (), _first(root, name)).narrow(*conditions)

    def narrow(self, *conditions: Caveat) -> Capability:
        """A weaker one. Raises UsageError when it would be larger than any may be."""
        raw, seal = list(self.raw), self.seal
        for condition in conditions:
            raw.append(caveats.encode(condition))
            seal = digest(seal, raw[-1], "sha256")
        weaker = Capability(self.name, tuple(raw), seal)
        if len(weaker.encode()) > limits.CAPABILITY:
            raise UsageError("the token has no room for more conditions", "narrow an earlier one")
        return weaker

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """The conditions in the order they were added, kinds unknown here among them."""
        return tuple(map(caveats.decode, self.raw))

    def counters(self, root: bytes) -> tuple[bytes, ...] | None:
        """One name for each caveat if this was made from `root`, else None; in constant time.

        Two capabilities share the counter of a caveat exactly when both were narrowed from the one
        that it was added to. A counter's name is a hash: it gives no seal away."""
        seals = [_first(root, self.name)]
        for raw in self.raw:
            seals.append(digest(seals[-1], raw, "sha256"))
        if not compare_digest(seals[-1], self.seal):
            return None
        return tuple(digest(seal, _COUNTER, "sha256")[: limits.COUNTER] for seal in seals[1:])

    def encode(self) -> bytes:
        return b"".join((self.name, *self.raw, self.seal))

    @classmethod
    def parse(cls, data: bytes) -> Capability:
        """Raises RemoteProtocolError on anything but the bytes of a capability."""
        if len(data) > limits.CAPABILITY:
            raise RemoteProtocolError("a token is larger than any may be")
        if len(data) < limits.CAPABILITY_NAME + SEAL:
            raise RemoteProtocolError("a token ends too early")
        name, seal = data[: limits.CAPABILITY_NAME], data[-SEAL:]
        raw = tuple(caveats.split(data[limits.CAPABILITY_NAME : -SEAL]))
        for item in raw:
            caveats.decode(item)
        return cls(name, raw, seal)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Capability) and compare_digest(self.encode(), other.encode())

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<Capability with {len(self.raw)} caveats>"


def _first(root: bytes, name: bytes) -> bytes:
    return digest(root, _LABEL + name, "sha256")
