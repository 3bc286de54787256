"""TPM quotes signed by keys of our own: every field settable, which a real TPM does not allow."""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from functools import cache
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.conclave.samples import NOW, REPORT_DATA

from bento.conclave import tpm_quote
from bento.conclave.appraise import Roots
from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence
from bento.conclave.verify_tpm import ATTESTATION_KEY

PCRS = {i: hashlib.sha256(bytes([i])).digest() for i in (0, 2, 4, 7, 11)}


class TpmLike:
    """An authority, an intermediate and an attestation key (elliptic or RSA)."""

    def __init__(self, key=None) -> None:
        self.root_key, self.middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in "ab")
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.root = certify(
            "TPM root", self.root_key.public_key(), "TPM root", self.root_key, ca=True
        )
        middle = self.middle_key.public_key()
        self.middle = certify("TPM middle", middle, "TPM root", self.root_key, ca=True)

    def roots(self) -> Roots:
        return Roots(tpm=(self.root,))

    def certificate(self, purpose=ATTESTATION_KEY, **when) -> x509.Certificate:
        return certify(
            "AK", self.key.public_key(), "TPM middle", self.middle_key, purpose=purpose, **when
        )

    def sign(self, quote: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(quote, padding.PKCS1v15(), hashes.SHA256())
            return struct.pack(">HH", 0x14, 0x0B) + sized(signature)
        r, s = utils.decode_dss_signature(self.key.sign(quote, ec.ECDSA(hashes.SHA256())))
        return (
            struct.pack(">HH", 0x18, 0x0B)
            + sized(r.to_bytes(32, "big"))
            + sized(s.to_bytes(32, "big"))
        )

    def crl(self, *revoked: x509.Certificate, days: float = 30) -> bytes:
        moment = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.middle.subject)
            .last_update(moment - dt.timedelta(days=1))
            .next_update(moment + dt.timedelta(days=days))
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(moment).build())
        return builder.sign(self.middle_key, hashes.SHA256()).public_bytes(Encoding.DER)

    def evidence(self, *, certificate=None, crl=None, pcrs=None, **changes) -> Evidence:
        quote = attest(**changes)
        parts = {
            "quote": quote,
            "signature": self.sign(quote),
            "pcrs": tpm_quote.encode_pcrs(PCRS if pcrs is None else pcrs),
            "ak_certificate": (certificate or self.certificate()).public_bytes(Encoding.DER),
            "ak_issuers": self.middle.public_bytes(Encoding.DER),
            "crl": self.crl() if crl is None else crl,
        }
        return Evidence(Kind.TPM, MappingProxyType(parts))


@cache
def tpm() -> TpmLike:
    return TpmLike()


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def attest(
    *,
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    report_data: bytes = REPORT_DATA,
    safe: int = 1,
    bank: int = 0x0B,
    selection=tuple(PCRS),
    digest: bytes | None = None,
    clock: int = 123456,
) -> bytes:
    bits = sum(1 << i for i in selection).to_bytes(3, "little")
    if digest is None:
        digest = hashlib.sha256(b"".join(PCRS[i] for i in selection)).digest()
    return b"".join(
        (
            struct.pack(">IH", magic, kind),
            sized(b"\x00\x0b" + bytes(32)),
            sized(report_data),
            struct.pack(">QIIBQ", clock, 4, 1, safe, 0x2020),
            struct.pack(">IHB", 1, bank, 3) + bits,
            sized(digest),
        )
    )


def certify(subject, public, issuer, key, *, ca=False, purpose=None, start=-10, end=3650):
    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    moment = dt.datetime.fromtimestamp(NOW, dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment + dt.timedelta(days=start))
        .not_valid_after(moment + dt.timedelta(days=end))
        .add_extension(x509.BasicConstraints(ca, None), True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    return builder.sign(key, hashes.SHA256())
