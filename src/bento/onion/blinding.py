"""Onion identities and their blinded keys (rend-spec-v3 A.2), in constant time.

Each time period the identity key is multiplied by a number that everybody who knows the address
can compute; HSDirs see only the product. All arithmetic on secrets is libsodium's: no secret
becomes a Python integer, none decides a branch or an index.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property

from nacl import bindings
from nacl.signing import SigningKey

from bento.errors import UsageError
from bento.onion.crypto import Secret, sha3, uint64

KEY_BYTES = 32
EXPANDED_BYTES = 64
ADDRESS_VERSION = 3

_C_TOR_FILE_HEADER = b"== ed25519v1-secret: type0 ==".ljust(32, b"\0")
_BLIND_STRING = b"Derive temporary signing key\0"
_HASH_INPUT = b"Derive temporary signing key hash input"
_BASEPOINT = (
    b"(15112221349535400772501151409588531511454012693041857206046113283949847762202, "
    b"46316835694926478169428394003475163141307993866256225615783033603165251855960)"
)


@dataclass(frozen=True, slots=True)
class TimePeriod:
    """A time period: its number since 1970, and its length in minutes."""

    number: int
    minutes: int


class OnionIdentity:
    """The long-term key of an onion service; `expanded` is scalar and hash prefix (32 + 32)."""

    def __init__(self, expanded: bytes) -> None:
        if len(expanded) != EXPANDED_BYTES:
            raise UsageError("an onion key has 64 bytes")
        self._scalar = Secret(expanded[:32])
        self._prefix = Secret(expanded[32:])
        self.public = public_of(self._scalar)

    @classmethod
    def generate(cls) -> OnionIdentity:
        return cls.from_seed(bytes(SigningKey.generate()))

    @classmethod
    def from_seed(cls, seed: bytes) -> OnionIdentity:
        """From an Ed25519 seed (RFC 8032); C-tor keeps only what comes out of it."""
        digest = hashlib.sha512(seed).digest()
        return cls(clamp(digest[:32]) + digest[32:])

    @classmethod
    def from_c_tor_file(cls, data: bytes) -> OnionIdentity:
        """The contents of an `hs_ed25519_secret_key` file."""
        if not data.startswith(_C_TOR_FILE_HEADER):
            raise UsageError("that is not an onion key file of tor")
        return cls(data[len(_C_TOR_FILE_HEADER) :])

    def to_c_tor_file(self) -> Secret:
        """What `from_c_tor_file` reads; keep it where only the service can."""
        return Secret(_C_TOR_FILE_HEADER + bytes(self._scalar) + bytes(self._prefix))

    @cached_property
    def address(self) -> str:
        """The 56 letters before `.onion`."""
        return address_of(self.public)

    def blinded(self, period: TimePeriod) -> BlindedKey:
        return self.blind(blinding_factor(self.public, period))

    def blind(self, factor: bytes) -> BlindedKey:
        scalar = bindings.crypto_core_ed25519_scalar_mul(clamp(factor), bytes(self._scalar))
        prefix = hashlib.sha512(_HASH_INPUT + self._prefix).digest()[:32]
        return BlindedKey(Secret(scalar), Secret(prefix), self.public)

    def __repr__(self) -> str:
        return "<onion identity>"


class BlindedKey:
    """The identity of one time period: what HSDirs know a service by, and what signs for it."""

    def __init__(self, scalar: Secret, prefix: Secret, identity: bytes) -> None:
        self._scalar = scalar
        self._prefix = prefix
        self.public = public_of(scalar)
        self.subcredential = subcredential(identity, self.public)

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature that `public` verifies."""
        nonce = _reduced(self._prefix + message)
        commitment = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = _reduced(commitment + self.public + message)
        product = bindings.crypto_core_ed25519_scalar_mul(challenge, bytes(self._scalar))
        return commitment + bindings.crypto_core_ed25519_scalar_add(nonce, product)

    def __repr__(self) -> str:
        return "<blinded onion key>"


def clamp(data: bytes) -> bytes:
    """The bits every Ed25519 scalar has fixed (RFC 8032 5.1.5)."""
    return bytes([data[0] & 248]) + data[1:31] + bytes([data[31] & 63 | 64])


def public_of(scalar: bytes) -> bytes:
    """The point that belongs to a scalar, clamped or reduced."""
    reduced = bindings.crypto_core_ed25519_scalar_reduce(bytes(scalar).ljust(64, b"\0"))
    return bindings.crypto_scalarmult_ed25519_base_noclamp(reduced)


def blinding_factor(public: bytes, period: TimePeriod) -> bytes:
    """What the identity is multiplied by in `period`; public."""
    nonce = b"key-blind" + uint64(period.number) + uint64(period.minutes)
    return sha3(_BLIND_STRING, public, _BASEPOINT, nonce)


def blind_public(public: bytes, factor: bytes) -> bytes:
    """The blinded public key, as a client computes it."""
    reduced = bindings.crypto_core_ed25519_scalar_reduce(clamp(factor).ljust(64, b"\0"))
    return bindings.crypto_scalarmult_ed25519_noclamp(reduced, public)


def subcredential(identity: bytes, blinded: bytes) -> bytes:
    """What only those who know the address know of a blinded key (rend-spec-v3 2.1)."""
    return sha3(b"subcredential", sha3(b"credential", identity), blinded)


def address_of(public: bytes) -> str:
    """The onion address of an identity (rend-spec-v3 6)."""
    version = bytes([ADDRESS_VERSION])
    checksum = sha3(b".onion checksum", public, version)[:2]
    return base64.b32encode(public + checksum + version).decode().lower()


def public_from_address(address: str) -> bytes:
    """The identity behind an address; UsageError when it is not one."""
    text = address.removesuffix(".onion")
    try:
        data = base64.b32decode(text.upper())
    except ValueError:
        data = b""
    if len(text) != 56 or len(data) != 35 or address_of(data[:32]) != text.lower():
        raise UsageError("that is not an onion address")
    return data[:32]


def _reduced(message: bytes) -> bytes:
    return bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(message).digest())
