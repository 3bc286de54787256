"""X.509 for the verifiers: strict reading, chains to a pinned root, revocation lists.

Invariant: a certificate list is accepted in one spelling only. PEM lets many texts decode to the
same certificate (stray bits in the last character, text between blocks); a verifier that ignores
such changes cannot promise that an altered chain is refused, so we compare with the re-encoding.
"""

from __future__ import annotations

import datetime as dt
import warnings
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Sequence

AMD_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)  # AMD 57230 §2: RSASSA-PSS, 48-byte salt


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_der(data: bytes, what: str) -> x509.Certificate:
    """One DER certificate, nothing before or after it."""
    try:
        with warnings.catch_warnings():
            # AMD gives every VCEK the serial number 0, which RFC 5280 forbids.
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(data)
            _read_whole(certificate)
    except Exception as error:  # the Rust parser raises several unrelated types
        raise AttestationError(f"the {what} is not a valid certificate") from error
    return certificate


def read_pem(data: bytes, what: str, count: int) -> list[x509.Certificate]:
    """Exactly `count` PEM certificates as OpenSSL writes them; Intel adds trailing NULs."""
    text = data.rstrip(b"\0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chain = x509.load_pem_x509_certificates(text)
            for certificate in chain:
                _read_whole(certificate)
    except Exception as error:
        raise AttestationError(f"the {what} is not a list of certificates") from error
    spelled = b"".join(c.public_bytes(Encoding.PEM) for c in chain)
    if len(chain) != count or spelled.replace(b"\n", b"") != text.replace(b"\n", b""):
        raise AttestationError(f"the {what} is not exactly {count} certificates in plain PEM")
    return chain


def _read_whole(certificate: x509.Certificate) -> None:
    """The parser is lazy; make a certificate that is broken anywhere fail now."""
    names = (certificate.subject, certificate.issuer)
    times = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    scheme = (certificate.signature_hash_algorithm, certificate.signature_algorithm_parameters)
    key = certificate.public_key()
    if not all((*names, *times, *scheme, key)) or not len(certificate.extensions):
        raise ValueError("a certificate lacks a field")
    _check_wrapping(der(certificate), certificate.tbs_certificate_bytes, certificate.signature)


def _check_wrapping(whole: bytes, signed: bytes, signature: bytes) -> None:
    """The few bytes around the signed part, which no signature covers, say what they must.

    SEQUENCE { signed, algorithm, BIT STRING }: the algorithm repeats the one inside (RFC 5280
    §4.1.1.2), and no bit of the BIT STRING is unused.
    """
    start = whole.index(signed) + len(signed)
    algorithm = whole[start : start + _der_size(whole, start)]
    inner = _der_header(signed, 0)
    while signed[inner] != _SEQUENCE:  # skip the version and the serial number
        inner += _der_size(signed, inner)
    if signed[inner : inner + len(algorithm)] != algorithm:
        raise ValueError("the two signature algorithms differ")
    if not whole.endswith(b"\0" + signature):
        raise ValueError("a signature is written in an unusual way")


_SEQUENCE = 0x30


def _der_header(data: bytes, at: int) -> int:
    """Size of the tag and length at `at`; OpenSSL and the Rust parser have checked them already."""
    return 2 + (data[at + 1] & 0x7F if data[at + 1] & 0x80 else 0)


def _der_size(data: bytes, at: int) -> int:
    header = _der_header(data, at)
    if header == 2:
        return 2 + data[at + 1]
    return header + int.from_bytes(data[at + 2 : at + header], "big")


@cache
def pinned(name: str) -> tuple[x509.Certificate, ...]:
    """The vendor certificates shipped with Bento: `roots/<name>.pem`."""
    data = files("bento.conclave").joinpath("roots", f"{name}.pem").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(x509.load_pem_x509_certificates(data))


def check_issued(child: x509.Certificate, parent: x509.Certificate, what: str) -> None:
    """`parent` signed `child` and may sign certificates. Raises AttestationError."""
    if child.issuer != parent.subject:
        raise AttestationError(f"the {what} names another issuer")
    if not _is_ca(parent):
        raise AttestationError(f"the issuer of the {what} may not sign certificates")
    _check_signature(parent, child.signature, child.tbs_certificate_bytes, child, what)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def _check_signature(
    signer: x509.Certificate,
    signature: bytes,
    signed: bytes,
    carrier: x509.Certificate | x509.CertificateRevocationList,
    what: str,
) -> None:
    key = signer.public_key()
    algorithm = carrier.signature_hash_algorithm
    if not isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise AttestationError(f"the {what} is signed with a weak digest")
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey):
            scheme = carrier.signature_algorithm_parameters
            if not isinstance(scheme, padding.PSS | padding.PKCS1v15):
                raise AttestationError(f"the {what} has an unknown signature scheme")
            key.verify(signature, signed, scheme, algorithm)
        else:
            raise AttestationError(f"the {what} is signed by an unknown kind of key")
    except InvalidSignature as error:
        raise AttestationError(f"the signature on the {what} is wrong") from error


def check_valid(certificate: x509.Certificate, now: int, what: str) -> None:
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise AttestationError(f"the {what} is not valid at the verifier's clock")


def read_crl(data: bytes, what: str) -> x509.CertificateRevocationList:
    try:
        crl = x509.load_der_x509_crl(data)
        if not all((crl.issuer, crl.last_update_utc, crl.signature_hash_algorithm)):
            raise ValueError
        _check_wrapping(data, crl.tbs_certlist_bytes, crl.signature)
        crl.extensions.__len__()
        crl.signature_algorithm_oid.__str__()
        list(crl)
    except Exception as error:  # as above
        raise AttestationError(f"the {what} is not a revocation list") from error
    return crl


def check_crl(
    crl: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    covered: Sequence[x509.Certificate],
    now: int,
    what: str,
) -> tuple[int, int]:
    """`issuer` signed `crl`, it is current, and lists none of `covered`.

    Returns when it was issued and when it ends, in seconds since 1970.
    """
    if crl.issuer != issuer.subject:
        raise AttestationError(f"the {what} is of another issuer")
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise AttestationError(f"the {what} is signed by an unknown kind of key")
    _check_crl_signature(crl, key, what)
    issued = int(crl.last_update_utc.timestamp())
    expires = int(crl.next_update_utc.timestamp()) if crl.next_update_utc else 0
    if not issued <= now <= expires:
        raise AttestationError(f"the {what} is not valid at the verifier's clock")
    for certificate in covered:
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise AttestationError(f"a certificate is revoked by the {what}")
    return issued, expires


def _check_crl_signature(
    crl: x509.CertificateRevocationList,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    what: str,
) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        # `is_signature_valid` knows only PKCS#1 v1.5 for RSA; AMD signs with PSS.
        try:
            key.verify(crl.signature, crl.tbs_certlist_bytes, AMD_PSS, hashes.SHA384())
            return
        except InvalidSignature:
            pass
    if not crl.is_signature_valid(key):
        raise AttestationError(f"the signature on the {what} is wrong")
