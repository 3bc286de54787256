"""The CERTS cell: who is at the other end of a link (tor-spec 4.2, cert-spec).

What a client must see before it trusts a relay; C-tor 0.4.9 makes the same checks
(`channel_tls_process_certs_cell`, `or_handshake_certs_ed25519_ok`), in this order:

    no.  check
    1    the cell parses, and its circuit id is 0 (`link` checks the latter)
    2    no certificate type that we use occurs twice
    3    type 4 is there and names the key that signed it: the Ed25519 identity
    4    type 4 certifies a signing key and is signed by the identity
    5    type 5 is there and certifies the SHA-256 of the TLS certificate in use
    6    type 5 is signed by the signing key of type 4
    7    neither is past its date
    8    type 2 is there: a self-signed X.509 certificate with a good signature
    9    type 2 is within its dates (two days of slack behind, thirty ahead)
    10   type 2 holds an RSA key of exactly 1024 bits
    11   type 7 is there, names the same Ed25519 identity, is not past its date
    12   type 7 is signed by the RSA key of type 2
    13   the caller expected this Ed25519 identity, and this RSA identity

Stricter than C-tor in two places: types 4, 5 must say inside what the cell says outside, and a
relay without Ed25519 certificates is refused (no relay of the last years lacks them).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bento.errors import RemoteProtocolError
from bento.onion import edcert
from bento.onion.edcert import CertType
from bento.onion.wire import Reader

RSA_IDENTITY_BITS = 1024
MAX_CERTS = 16  # a relay sends six; C-tor accepts 255

_X509_PAST_SLACK = timedelta(days=2)  # C-tor: TOR_X509_PAST_SLOP
_X509_FUTURE_SLACK = timedelta(days=30)  # C-tor: TOR_X509_FUTURE_SLOP
_CROSS_PREFIX = b"Tor TLS RSA/Ed25519 cross-certificate"

# All that `cryptography` raises for a certificate it cannot read or verify.
_X509_FAULTS = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion)

_IDENTITY_X509 = 2
_SIGNING_BY_IDENTITY = 4
_TLS_BY_SIGNING = 5
_CROSS = 7
_WANTED = {
    _IDENTITY_X509: "RSA identity",
    _SIGNING_BY_IDENTITY: "Ed25519 signing key",
    _TLS_BY_SIGNING: "Ed25519 link",
    _CROSS: "RSA to Ed25519",
}


@dataclass(frozen=True, slots=True)
class RelayIdentity:
    """Both names of a relay: SHA-1 of its RSA key (20 bytes), and its Ed25519 key (32)."""

    rsa: bytes
    ed25519: bytes


def parse_cell(body: bytes) -> dict[int, bytes]:
    """The certificates of a CERTS body by type; only types that we check (rows 1 and 2)."""
    reader = Reader(body, "the CERTS cell")
    count = reader.uint(1)
    if count > MAX_CERTS:
        raise RemoteProtocolError(f"the CERTS cell holds {count} certificates")
    found: dict[int, bytes] = {}
    for _ in range(count):
        kind, data = reader.uint(1), reader.vector(2)
        if kind not in _WANTED:
            continue
        if kind in found:
            raise RemoteProtocolError(f"the CERTS cell has two {_WANTED[kind]} certificates")
        found[kind] = data
    reader.end()
    return found


def check(
    body: bytes,
    tls_certificate: bytes,
    now: float,
    expected: RelayIdentity | None = None,
) -> RelayIdentity:
    """The identity proved by a CERTS cell on a connection with this TLS certificate (DER).

    `now` is in seconds since 1970. Raises RemoteProtocolError when any row of the table fails.
    """
    found = parse_cell(body)
    for kind, name in _WANTED.items():
        if kind not in found:
            raise RemoteProtocolError(f"the relay sent no {name} certificate")
    identity = _check_chain(
        found[_SIGNING_BY_IDENTITY], found[_TLS_BY_SIGNING], tls_certificate, now
    )
    key = _check_x509(found[_IDENTITY_X509], now)
    _check_cross(found[_CROSS], key, identity, now)
    proved = RelayIdentity(rsa_fingerprint(key), identity)
    if expected is not None and not _same(proved, expected):
        raise RemoteProtocolError(
            "another relay answered at this address", "the directory may be out of date"
        )
    return proved


def rsa_fingerprint(key: rsa.RSAPublicKey) -> bytes:
    """SHA-1 of the PKCS#1 form: the relay fingerprint (dir-spec 1.3)."""
    return hashlib.sha1(
        key.public_bytes(Encoding.DER, PublicFormat.PKCS1), usedforsecurity=False
    ).digest()


def _same(one: RelayIdentity, two: RelayIdentity) -> bool:
    return hmac.compare_digest(one.rsa + one.ed25519, two.rsa + two.ed25519)


def _check_chain(signing: bytes, link: bytes, tls_certificate: bytes, now: float) -> bytes:
    """Rows 3 to 7: identity -> signing key -> TLS certificate."""
    first, second = edcert.parse(signing), edcert.parse(link)
    if first.kind != CertType.SIGNING_BY_IDENTITY or second.kind != CertType.TLS_BY_SIGNING:
        raise RemoteProtocolError("a certificate is not of the type the cell says")
    if first.signer is None:
        raise RemoteProtocolError("the signing key certificate does not name the identity")
    if second.key != hashlib.sha256(tls_certificate).digest():
        raise RemoteProtocolError("the relay's certificates are not for this TLS connection")
    first.check(first.signer, now)
    second.check(first.key, now)
    return first.signer


def _check_x509(data: bytes, now: float) -> rsa.RSAPublicKey:
    """Rows 8 to 10: the self-signed RSA identity."""
    try:
        certificate = x509.load_der_x509_certificate(data)
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != RSA_IDENTITY_BITS:
            raise RemoteProtocolError("the relay's RSA identity is not a 1024-bit RSA key")
        # DER may leave out bits of the last byte; tor takes no signature that does.
        if not data.endswith(b"\0" + certificate.signature):
            raise RemoteProtocolError("the RSA identity is not signed with whole bytes")
        algorithm = certificate.signature_hash_algorithm
        if algorithm is None:
            raise RemoteProtocolError("the RSA identity is signed in an unknown way")
        key.verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            padding.PKCS1v15(),
            algorithm,
        )
        starts, ends = _validity(certificate)
    except _X509_FAULTS as error:
        raise RemoteProtocolError("the RSA identity certificate is not good") from error
    moment = datetime.fromtimestamp(now, UTC)
    if moment + _X509_FUTURE_SLACK < starts or moment - _X509_PAST_SLACK > ends:
        raise RemoteProtocolError("the RSA identity certificate is out of date")
    return key


def _validity(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """Debian 12's `cryptography` has only the names without `_utc`, which newer ones warn of."""
    if hasattr(certificate, "not_valid_before_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    starts, ends = certificate.not_valid_before, certificate.not_valid_after
    return starts.replace(tzinfo=UTC), ends.replace(tzinfo=UTC)


def _check_cross(data: bytes, key: rsa.RSAPublicKey, identity: bytes, now: float) -> None:
    """Rows 11 and 12: the RSA identity vouches for the Ed25519 one (cert-spec 2.3)."""
    reader = Reader(data, "the RSA to Ed25519 certificate")
    named = reader.take(edcert.KEY_BYTES)
    expires = reader.uint(4) * edcert.SECONDS_PER_HOUR
    signed = data[: reader.position]
    signature = reader.vector(1)
    reader.end()
    if not hmac.compare_digest(named, identity):
        raise RemoteProtocolError("the RSA identity vouches for another Ed25519 identity")
    if expires < now:
        raise RemoteProtocolError("the RSA to Ed25519 certificate has expired")
    digest = hashlib.sha256(_CROSS_PREFIX + signed).digest()
    try:
        # Tor signs the bare digest, without the DigestInfo of PKCS#1.
        recovered = key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
    except (InvalidSignature, ValueError) as error:
        raise RemoteProtocolError("the RSA to Ed25519 certificate is badly signed") from error
    if not hmac.compare_digest(recovered, digest):
        raise RemoteProtocolError("the RSA to Ed25519 certificate is badly signed")
