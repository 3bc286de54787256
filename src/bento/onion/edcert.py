"""Tor's Ed25519 certificates (cert-spec 2): strict reading, checking and making.

Invariant: a `EdCert` exists only for bytes whose every field was understood; whether its
signature is good is a separate question, asked with `check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from bento.errors import RemoteProtocolError
from bento.onion.wire import Reader

KEY_BYTES = 32
SIGNATURE_BYTES = 64
SECONDS_PER_HOUR = 3600

_VERSION = 1
_SIGNED_WITH_KEY = 4  # the extension that names the signing key
_AFFECTS_VALIDATION = 1  # its flag: who does not know the extension must refuse the certificate


class CertType(IntEnum):
    """What a certificate vouches for (cert-spec A.1)."""

    SIGNING_BY_IDENTITY = 4
    TLS_BY_SIGNING = 5
    AUTH_BY_SIGNING = 6
    HS_DESCRIPTOR_SIGNING = 8
    HS_INTRO_AUTH = 9
    HS_INTRO_ENCRYPTION = 11


@dataclass(frozen=True, slots=True)
class EdCert:
    """One certificate. `expires` is in seconds since 1970, `signer` is the key it names, if any."""

    kind: int
    expires: int
    key_type: int
    key: bytes
    signer: bytes | None
    signed: bytes
    signature: bytes

    def check(self, signer: bytes, now: float) -> None:
        """RemoteProtocolError unless `signer` signed it and it is not past its hour at `now`."""
        if now > self.expires:
            raise RemoteProtocolError("a certificate has expired", "check the clock")
        if not signature_is_good(signer, self.signed, self.signature):
            raise RemoteProtocolError("a certificate is badly signed")


def signature_is_good(key: bytes, message: bytes, signature: bytes) -> bool:
    """Plain Ed25519 verification."""
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def parse(data: bytes) -> EdCert:
    """Reads one certificate; RemoteProtocolError for anything not exactly in the format."""
    reader = Reader(data, "an Ed25519 certificate")
    if reader.uint(1) != _VERSION:
        raise RemoteProtocolError("an Ed25519 certificate has an unknown version")
    kind = reader.uint(1)
    expires = reader.uint(4) * SECONDS_PER_HOUR
    key_type = reader.uint(1)
    key = reader.take(KEY_BYTES)
    signer = None
    for _ in range(reader.uint(1)):
        length, extension, flags = reader.uint(2), reader.uint(1), reader.uint(1)
        body = reader.take(length)
        if extension == _SIGNED_WITH_KEY:
            if signer is not None or length != KEY_BYTES:
                raise RemoteProtocolError("a certificate names its signing key wrongly")
            signer = body
        elif flags & _AFFECTS_VALIDATION:
            raise RemoteProtocolError("a certificate has a critical extension we do not know")
    signed = data[: reader.position]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return EdCert(kind, expires, key_type, key, signer, signed, signature)


def make(
    kind: CertType,
    key: bytes,
    signer: bytes,
    sign: Callable[[bytes], bytes],
    expires: float,
    *,
    key_type: int = 1,
) -> bytes:
    """A certificate for `key`, signed by `signer`; `expires` (s) is rounded up to an hour."""
    hours = -(-int(expires) // SECONDS_PER_HOUR)
    signed = (
        bytes([_VERSION, kind])
        + hours.to_bytes(4, "big")
        + bytes([key_type])
        + key
        + b"\x01"
        + KEY_BYTES.to_bytes(2, "big")
        + bytes([_SIGNED_WITH_KEY, 0])
        + signer
    )
    return signed + sign(signed)
