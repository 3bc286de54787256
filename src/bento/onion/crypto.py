"""The few primitives all handshakes and layers share, and a type for secrets that never shows them.

Invariant: no secret is ever the subject of Python integer arithmetic or of `==`.

This room runs inside sandboxes too, on Debian 12's cryptography 38 and PyNaCl 1.5: nothing newer is used.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bento.errors import RemoteProtocolError

X25519_BYTES = 32
SHA3_BYTES = 32
_ZERO_IV = bytes(16)
_BLOCK_BYTES = 16  # `update_into` wants room for so much more, whatever the mode


class Secret(bytes):
    """Bytes that neither `repr` nor `str` nor a traceback shows."""

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__


def same(one: bytes, two: bytes) -> bool:
    """Equality in a time that does not depend on the contents."""
    return hmac.compare_digest(one, two)


def aes_ctr(key: bytes, iv: bytes = _ZERO_IV) -> CipherContext:
    """AES in counter mode; encrypting and decrypting are the same."""
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()


class Scratch:
    """Two buffers that a run of cells goes back and forth between, one pass a layer: what is
    allocated anew for each pass costs as much as the cipher."""

    def __init__(self) -> None:
        self._views = [memoryview(b""), memoryview(b"")]

    def through(self, cipher: CipherContext, data: bytes | bytearray | memoryview) -> memoryview:
        """`data`, which may be what the last call gave, after `cipher`; good until the call after next."""
        room = len(data) + _BLOCK_BYTES
        target, self._views = self._views[0], self._views[::-1]
        if len(target) < room:
            target = self._views[1] = memoryview(bytearray(room))
        cipher.update_into(data, target[:room])
        return target[: len(data)]


def x25519_public(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def x25519_secret(private: X25519PrivateKey) -> Secret:
    return Secret(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def x25519(private: X25519PrivateKey, public: bytes) -> Secret:
    """The shared point; RemoteProtocolError for a key of the wrong size or of small order."""
    try:
        return Secret(private.exchange(X25519PublicKey.from_public_bytes(public)))
    except ValueError as error:
        raise RemoteProtocolError("the peer's X25519 key is not usable") from error


def hkdf_sha256(seed: bytes, info: bytes, size: int) -> Secret:
    """The expanding half of HKDF (RFC 5869 2.3, tor-spec 5.2.2); `seed` is already extracted."""
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = hmac.digest(seed, block + info + bytes([counter]), "sha256")
        out += block
        counter += 1
    return Secret(out[:size])


def sha3(*parts: bytes) -> bytes:
    return hashlib.sha3_256(b"".join(parts)).digest()


def shake(data: bytes, size: int) -> Secret:
    return Secret(hashlib.shake_256(data).digest(size))


def uint64(value: int) -> bytes:
    """INT_8 of rend-spec-v3: eight bytes, big-endian."""
    return value.to_bytes(8, "big")


def mac_sha3(key: bytes, message: bytes) -> bytes:
    """The MAC of rend-spec-v3 0.3: SHA3-256(key length, key, message)."""
    return sha3(uint64(len(key)), key, message)


def encapsulate(data: bytes) -> bytes:
    """ENCAP of proposal 332: the data after its length in eight bytes."""
    return uint64(len(data)) + data
