"""Key material of one hop, and how each kind of hop cuts it out of a key stream.

kind        digest    cipher    used for
TOR1        SHA-1     AES-128   hops to relays (ntor, ntor-v3)
ONION       SHA3-256  AES-256   the end-to-end hop of a rendezvous circuit
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bento.onion.crypto import Secret


class Digest(Protocol):
    """What we use of a `hashlib` object."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Digest: ...


def _sha1(seed: bytes) -> Digest:
    return hashlib.sha1(seed, usedforsecurity=False)


def _sha3(seed: bytes) -> Digest:
    return hashlib.sha3_256(seed)


@dataclass(frozen=True, slots=True)
class Suite:
    """Sizes in bytes; `nonce_bytes` is KH, which binds ESTABLISH_INTRO to its circuit."""

    digest: Callable[[bytes], Digest]
    digest_bytes: int
    key_bytes: int
    nonce_bytes: int

    @property
    def total(self) -> int:
        return 2 * self.digest_bytes + 2 * self.key_bytes + self.nonce_bytes


TOR1 = Suite(_sha1, 20, 16, 20)
ONION = Suite(_sha3, 32, 32, 0)


@dataclass(frozen=True, slots=True, repr=False)
class HopKeys:
    """Seeds of the running digests and cipher keys; forward is away from the circuit's builder."""

    suite: Suite
    forward_digest: Secret
    backward_digest: Secret
    forward_key: Secret
    backward_key: Secret
    nonce: Secret

    def reversed(self) -> HopKeys:
        """The same keys seen from the other end."""
        return HopKeys(
            self.suite,
            self.backward_digest,
            self.forward_digest,
            self.backward_key,
            self.forward_key,
            self.nonce,
        )

    def __repr__(self) -> str:
        return "<keys of one hop>"


def cut(stream: bytes, suite: Suite) -> HopKeys:
    """Df, Db, Kf, Kb, KH in this order (tor-spec 5.2.2); `stream` has `suite.total` bytes."""
    parts: list[Secret] = []
    at = 0
    for size in (
        suite.digest_bytes,
        suite.digest_bytes,
        suite.key_bytes,
        suite.key_bytes,
        suite.nonce_bytes,
    ):
        parts.append(Secret(stream[at : at + size]))
        at += size
    return HopKeys(suite, *parts)
