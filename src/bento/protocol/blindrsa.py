"""Blind RSA signatures, RFC 9474: the holder's half and the check. The signer's is in box/issuer.

The signer never sees what it signs, so it cannot know a signature again when it is shown. Variants differ in
the salt (48 bytes or none) and in whether 32 random bytes go before the message; `PSS_RANDOMIZED` is the
one that the RFC recommends and that passes use. Checking is plain RSASSA-PSS with SHA-384.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from bento.errors import RemoteProtocolError

EXPONENT = 65537
_HASH = 48  # bytes of SHA-384
_TRAILER = b"\xbc"


@dataclass(frozen=True)
class Variant:
    """`salt` and `prefix` in bytes (RFC 9474 section 5)."""

    name: str
    salt: int
    prefix: int


PSS_RANDOMIZED = Variant("RSABSSA-SHA384-PSS-Randomized", _HASH, 32)
PSSZERO_RANDOMIZED = Variant("RSABSSA-SHA384-PSSZERO-Randomized", 0, 32)
PSS_DETERMINISTIC = Variant("RSABSSA-SHA384-PSS-Deterministic", _HASH, 0)
PSSZERO_DETERMINISTIC = Variant("RSABSSA-SHA384-PSSZERO-Deterministic", 0, 0)
VARIANTS = (PSS_RANDOMIZED, PSSZERO_RANDOMIZED, PSS_DETERMINISTIC, PSSZERO_DETERMINISTIC)


def public_key(modulus: bytes) -> RSAPublicKey:
    """Raises RemoteProtocolError on what cannot be the modulus of a key."""
    try:
        return RSAPublicNumbers(EXPONENT, int.from_bytes(modulus, "big")).public_key()
    except ValueError:
        raise RemoteProtocolError("this is no RSA key") from None


def prepare(message: bytes, variant: Variant = PSS_RANDOMIZED) -> bytes:
    """The message as it is signed (RFC 9474 section 4.1)."""
    return secrets.token_bytes(variant.prefix) + message


def blind(
    key: RSAPublicKey,
    prepared: bytes,
    variant: Variant = PSS_RANDOMIZED,
    *,
    salt: bytes | None = None,
    factor: int | None = None,
) -> tuple[bytes, int]:
    """(what the signer gets, what takes the blinding off again) (section 4.2). `salt` and `factor` are
    random; only test vectors give them."""
    numbers = key.public_numbers()
    if salt is None:
        salt = secrets.token_bytes(variant.salt)
    encoded = int.from_bytes(_encode(prepared, salt, key.key_size - 1), "big")
    if math.gcd(encoded, numbers.n) != 1:
        raise RemoteProtocolError("this is no RSA key")
    while factor is None:
        candidate = secrets.randbelow(numbers.n - 1) + 1
        factor = candidate if math.gcd(candidate, numbers.n) == 1 else None
    blinded = encoded * pow(factor, numbers.e, numbers.n) % numbers.n
    return blinded.to_bytes(_size(key), "big"), pow(factor, -1, numbers.n)


def finalize(
    key: RSAPublicKey,
    prepared: bytes,
    blind_signature: bytes,
    inverse: int,
    variant: Variant = PSS_RANDOMIZED,
) -> bytes:
    """The signature of `prepared` (section 4.4). Raises RemoteProtocolError when the signer did not
    sign what it was given, or with another key."""
    if len(blind_signature) != _size(key):
        raise RemoteProtocolError("a blind signature has another size than its key")
    modulus = key.public_numbers().n
    signature = int.from_bytes(blind_signature, "big") * inverse % modulus
    raw = signature.to_bytes(_size(key), "big")
    if not verify(key, prepared, raw, variant):
        raise RemoteProtocolError("the issuer's signature is not of what was asked for")
    return raw


def verify(
    key: RSAPublicKey, prepared: bytes, signature: bytes, variant: Variant = PSS_RANDOMIZED
) -> bool:
    """Whether `signature` is of `prepared`: RSASSA-PSS, RFC 8017 section 8.1.2."""
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), variant.salt)
    try:
        key.verify(signature, prepared, scheme, hashes.SHA384())
    except InvalidSignature:
        return False
    return True


def _size(key: RSAPublicKey) -> int:
    return (key.key_size + 7) // 8


def _encode(message: bytes, salt: bytes, bits: int) -> bytes:
    """EMSA-PSS-ENCODE, RFC 8017 section 9.1.1."""
    size = (bits + 7) // 8
    digest = hashlib.sha384(message).digest()
    mark = hashlib.sha384(bytes(8) + digest + salt).digest()
    block = bytes(size - len(salt) - _HASH - 2) + b"\x01" + salt
    masked = bytearray(a ^ b for a, b in zip(block, _mgf1(mark, len(block)), strict=True))
    masked[0] &= 0xFF >> (8 * size - bits)
    return bytes(masked) + mark + _TRAILER


def _mgf1(seed: bytes, length: int) -> bytes:
    pieces = (
        hashlib.sha384(seed + count.to_bytes(4, "big")).digest()
        for count in range(-(-length // _HASH))
    )
    return b"".join(pieces)[:length]
