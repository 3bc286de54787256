"""Certificates, revocation lists and signed JSON in Intel's formats, under keys of our own.

Sources: Intel, "PCK Certificate and Certificate Revocation List Profile Specification" (the SGX
extension 1.2.840.113741.1.13.1 and its members), "Provisioning Certification Service API v4" (TCB
info, QE identity). Every certificate names the organisation "EMULATED - NOT HARDWARE".
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from bento.conclave.verify_dcap import EMULATED_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
LIFETIME: Final = dt.timedelta(days=3650)
_BACKDATE: Final = dt.timedelta(days=1)  # clocks of a test network's machines differ


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def sign_raw(self, data: bytes) -> bytes:
        return raw_signature(self.key, data)


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """ECDSA P-256 as Intel writes it: r and s, 32 bytes each, big-endian."""
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def raw_public(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def new_identity(
    common_name: str,
    now: dt.datetime,
    issuer: Identity | None = None,
    *,
    ca: bool,
    path_length: int | None = None,
    sgx_extension: bytes | None = None,
) -> Identity:
    """A P-256 key and a certificate by `issuer` (or by itself)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, EMULATED_NAME),
        ]
    )
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + LIFETIME)
    )
    for extension, critical in _extensions(key, signer, ca=ca, path_length=path_length):
        builder = builder.add_extension(extension, critical)
    if sgx_extension is not None:
        oid = x509.ObjectIdentifier(SGX_EXTENSION)
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, sgx_extension), False)
    return Identity(key, builder.sign(signer, hashes.SHA256()))


def _extensions(
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    path_length: int | None,
) -> Iterable[tuple[x509.ExtensionType, bool]]:
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
    yield x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    # webpki matches a revocation list to a certificate by its distribution point.
    point = x509.UniformResourceIdentifier("https://crl.invalid/emulated.der")
    yield (
        x509.CRLDistributionPoints([x509.DistributionPoint([point], None, None, None)]),
        False,
    )
    yield x509.BasicConstraints(ca, path_length), True
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    yield (
        x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage),
        True,
    )


def revocation_list(
    issuer: Identity,
    issued: dt.datetime,
    expires: dt.datetime,
    revoked: Iterable[x509.Certificate] = (),
) -> bytes:
    """A DER revocation list by `issuer`."""
    key = issuer.key.public_key()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(issued)
        .next_update(expires)
        .add_extension(x509.CRLNumber(1), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), False)
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(issued).build())
    signed = builder.sign(issuer.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


# --- the SGX extension of a PCK certificate, in DER


def sgx_extension(ppid: bytes, cpu_svn: bytes, pce_svn: int, fmspc: bytes) -> bytes:
    """PPID, TCB, PCE id, FMSPC and SGX type (standard), each behind its own object identifier."""
    tcb = [_member(f"2.{n + 1}", _integer(svn)) for n, svn in enumerate(cpu_svn)]
    tcb += [_member("2.17", _integer(pce_svn)), _member("2.18", _octets(cpu_svn))]
    return _sequence(
        _member("1", _octets(ppid)),
        _member("2", _sequence(*tcb)),
        _member("3", _octets(b"\0\0")),
        _member("4", _octets(fmspc)),
        _member("5", b"\x0a\x01\x00"),
    )


def _member(suffix: str, value: bytes) -> bytes:
    return _sequence(_oid(f"{SGX_EXTENSION}.{suffix}"), value)


def _tlv(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width, "big") + body


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _octets(data: bytes) -> bytes:
    return _tlv(0x04, data)


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(n) for n in dotted.split("."))
    body = bytearray([first * 40 + second])
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        body += bytes(reversed(groups))
    return _tlv(0x06, bytes(body))
