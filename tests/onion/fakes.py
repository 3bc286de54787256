"""A relay's identity made in memory, every part of which a test can spoil."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from nacl.signing import SigningKey

from bento.onion import certs, edcert
from bento.onion.certs import RelayIdentity
from bento.onion.edcert import CertType

NOW = 1_800_000_000.0
HOUR = 3600
TLS_CERTIFICATE = b"the TLS certificate of this connection"

_RSA_KEYS: dict[int, rsa.RSAPrivateKey] = {}


def rsa_key(bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    """One key per size and number for the whole run: making them is slow."""
    slot = bits * 10 + number
    if slot not in _RSA_KEYS:
        _RSA_KEYS[slot] = rsa.generate_private_key(65537, bits)
    return _RSA_KEYS[slot]


def self_signed(key: rsa.RSAPrivateKey, start: float, end: float, signer=None) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(datetime.fromtimestamp(start, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
    )
    return builder.sign(signer or key, hashes.SHA256()).public_bytes(Encoding.DER)


def raw_rsa_sign(key: rsa.RSAPrivateKey, digest: bytes) -> bytes:
    """PKCS#1 v1.5 over the bare digest, as tor signs cross-certificates."""
    numbers = key.private_numbers()
    size = key.key_size // 8
    block = b"\x00\x01" + b"\xff" * (size - 3 - len(digest)) + b"\x00" + digest
    n = numbers.public_numbers.n
    return pow(int.from_bytes(block, "big"), numbers.d, n).to_bytes(size, "big")


@dataclass
class FakeIdentity:
    """Keys of a relay; `parts()` gives the body of each certificate by type."""

    master: SigningKey = field(default_factory=lambda: SigningKey(b"\x01" * 32))
    signing: SigningKey = field(default_factory=lambda: SigningKey(b"\x02" * 32))
    rsa: rsa.RSAPrivateKey = field(default_factory=lambda: rsa_key(1024))
    tls_certificate: bytes = TLS_CERTIFICATE
    now: float = NOW

    @property
    def identity(self) -> RelayIdentity:
        return RelayIdentity(
            certs.rsa_fingerprint(self.rsa.public_key()), bytes(self.master.verify_key)
        )

    def signing_cert(
        self, expires: float | None = None, kind=CertType.SIGNING_BY_IDENTITY
    ) -> bytes:
        return edcert.make(
            kind,
            bytes(self.signing.verify_key),
            bytes(self.master.verify_key),
            lambda m: self.master.sign(m).signature,
            self.now + HOUR if expires is None else expires,
        )

    def link_cert(
        self, expires: float | None = None, kind=CertType.TLS_BY_SIGNING, certificate=None
    ) -> bytes:
        return edcert.make(
            kind,
            hashlib.sha256(certificate or self.tls_certificate).digest(),
            bytes(self.signing.verify_key),
            lambda m: self.signing.sign(m).signature,
            self.now + HOUR if expires is None else expires,
            key_type=3,
        )

    def cross(self, expires: float | None = None, key=None, signer=None) -> bytes:
        hours = int((self.now + HOUR if expires is None else expires) // HOUR) + 1
        signed = (key or bytes(self.master.verify_key)) + hours.to_bytes(4, "big")
        digest = hashlib.sha256(b"Tor TLS RSA/Ed25519 cross-certificate" + signed).digest()
        signature = raw_rsa_sign(signer or self.rsa, digest)
        return signed + bytes([len(signature)]) + signature

    def x509(self, start: float = -HOUR, end: float = HOUR, key=None, signer=None) -> bytes:
        return self_signed(key or self.rsa, self.now + start, self.now + end, signer)

    def parts(self) -> dict[int, bytes]:
        return {2: self.x509(), 4: self.signing_cert(), 5: self.link_cert(), 7: self.cross()}


def certs_body(parts: list[tuple[int, bytes]] | dict[int, bytes]) -> bytes:
    rows = list(parts.items()) if isinstance(parts, dict) else parts
    return bytes([len(rows)]) + b"".join(
        bytes([kind]) + len(data).to_bytes(2, "big") + data for kind, data in rows
    )
