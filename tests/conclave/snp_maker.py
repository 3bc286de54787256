"""SNP reports, endorsement keys and revocation lists under an AMD-like root of our own."""

from __future__ import annotations

import datetime as dt
import struct
from functools import cache
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.conclave.samples import NOW, REPORT_DATA

from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence

OID = "1.3.6.1.4.1.3704.1."
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
CHIP = bytes(range(64))
TURIN_CHIP = bytes(range(1, 9)) + bytes(56)
MILAN_TCB = bytes([3, 0, 0, 0, 0, 0, 8, 115])
TURIN_TCB = bytes([1, 3, 0, 8, 0, 0, 0, 115])


class AmdLike:
    """ARK, ASK and ASVK with RSA keys, as AMD's are (2048 bits here: quicker to make)."""

    def __init__(self) -> None:
        self.ark_key, self.ask_key, self.asvk_key = (
            rsa.generate_private_key(65537, 2048) for _ in range(3)
        )
        self.ark = certify("ARK", self.ark_key.public_key(), "ARK", self.ark_key, ca=True)
        self.ask = certify("ASK", self.ask_key.public_key(), "ARK", self.ark_key, ca=True)
        self.asvk = certify("ASVK", self.asvk_key.public_key(), "ARK", self.ark_key, ca=True)
        self.key = ec.generate_private_key(ec.SECP384R1())

    def roots(self, product: str = "milan") -> dict[str, tuple[x509.Certificate, ...]]:
        return {product: (self.ark, self.ask, self.asvk)}

    def vcek(self, tcb: dict[str, int] | None = None, chip: bytes = CHIP, **when) -> bytes:
        extensions = {**tcb_extensions(tcb or milan_tcb()), OID + "4": chip}
        public = self.key.public_key()
        return certify(
            "VCEK", public, "ASK", self.ask_key, extensions=extensions, **when
        ).public_bytes(Encoding.DER)

    def vlek(self, csp: bool = True) -> bytes:
        extensions = tcb_extensions(milan_tcb()) | ({OID + "5": b"\x16\x03csp"} if csp else {})
        public = self.key.public_key()
        return certify("VLEK", public, "ASVK", self.asvk_key, extensions=extensions).public_bytes(
            Encoding.DER
        )

    def crl(self, *revoked: x509.Certificate, days: float = 30, key=None, issuer="ARK") -> bytes:
        moment = dt.datetime.fromtimestamp(NOW, dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name(issuer))
            .last_update(moment - dt.timedelta(days=1))
            .next_update(moment + dt.timedelta(days=days))
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(moment).build())
        signed = builder.sign(key or self.ark_key, hashes.SHA384(), rsa_padding=PSS)
        return signed.public_bytes(Encoding.DER)

    def report(self, **changes) -> bytes:
        return sign(body(**changes), self.key)

    def evidence(self, crl: bytes | None = None, key: bytes | None = None, **changes) -> Evidence:
        parts = {
            "report": self.report(**changes),
            "key_certificate": key or self.vcek(),
            "crl": self.crl() if crl is None else crl,
        }
        return Evidence(Kind.SNP, MappingProxyType(parts))


@cache
def amd() -> AmdLike:
    return AmdLike()


@cache
def other_amd() -> AmdLike:
    return AmdLike()


def body(
    *,
    version: int = 2,
    policy: int = 0x30000,
    vmpl: int = 0,
    key_info: int = 0,
    tcb: bytes = MILAN_TCB,
    chip: bytes = CHIP,
    cpuid: bytes = bytes(3),
    report_data: bytes = REPORT_DATA,
    algorithm: int = 1,
    measurement: bytes = bytes(range(48)),
) -> bytes:
    data = bytearray(0x2A0)
    struct.pack_into("<IIQ", data, 0, version, 7, policy)
    struct.pack_into("<II", data, 0x30, vmpl, algorithm)
    data[0x38:0x40] = tcb
    struct.pack_into("<QI", data, 0x40, 1, key_info)
    data[0x50:0x90] = report_data
    data[0x90:0xC0] = measurement
    data[0x180:0x188] = tcb
    data[0x188:0x18B] = cpuid
    data[0x1A0:0x1E0] = chip
    data[0x1E0:0x1E8] = data[0x1F0:0x1F8] = tcb
    return bytes(data)


def sign(signed: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA384())))
    return signed + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(512 - 144)


def milan_tcb() -> dict[str, int]:
    return {"1": 3, "2": 0, "3": 8, "8": 115}


def turin_tcb() -> dict[str, int]:
    return {"1": 3, "2": 0, "3": 8, "8": 115, "9": 1}


def tcb_extensions(tcb: dict[str, int]) -> dict[str, bytes]:
    return {OID + "3." + suffix: bytes([2, 1, value]) for suffix, value in tcb.items()}


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certify(subject, public, issuer, key, *, ca=False, extensions=None, start=-10, end=3650):
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
    for oid, value in (extensions or {}).items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, False)
    return builder.sign(key, hashes.SHA384(), rsa_padding=PSS)
