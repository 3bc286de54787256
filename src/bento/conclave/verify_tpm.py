"""TPM 2.0 evidence: this box booted this software, says its TPM. No memory is protected.

Checks: the attestation key's certificate up to a root the client named (there is no one root of all
TPM makers, and a maker's root vouches for a chip, not for the key: the authority that certified
the attestation key must have made it prove its endorsement key first), the revocation list if one
is stapled, the signature, and that the registers shown are the registers quoted. The clock must be
marked safe: after an unclean stop a TPM may repeat old clock values until it catches up.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from bento.conclave import chains, tpm_quote
from bento.conclave.claims import UNRATED, Claims, Kind
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bento.conclave.evidence import Evidence

ATTESTATION_KEY: Final = x509.ObjectIdentifier("2.23.133.8.3")  # TCG: tcg-kp-AIKCertificate
MAX_ISSUERS: Final = 4
MIN_RSA: Final = 2048  # bits


def verify_tpm(evidence: Evidence, now: int, roots: Sequence[x509.Certificate]) -> Claims:
    """Claims of a TPM quote at `now` (seconds since 1970). Raises AttestationError."""
    parts = evidence.parts
    attest = tpm_quote.parse_attest(parts["quote"])
    signature = tpm_quote.parse_signature(parts["signature"])
    registers = tpm_quote.parse_pcrs(parts["pcrs"])
    key = chains.read_der(parts["ak_certificate"], "attestation key's certificate")
    issuers = _issuers(parts["ak_issuers"])
    root = _check_chain(key, issuers, now, roots)
    _check_purpose(key)
    issuer = issuers[0] if issuers else root
    window = _check_revocation(parts["crl"], issuer, key, now)
    _check_signature(key, signature, parts["quote"])
    _check_registers(attest, registers)
    if not attest.safe:
        raise AttestationError("the TPM's clock is not safe yet: it may repeat old values")
    return _claims(attest, registers, key, root, window)


def _issuers(data: bytes) -> list[x509.Certificate]:
    """Intermediates, DER behind DER, nearest first."""
    found: list[x509.Certificate] = []
    while data:
        if len(found) == MAX_ISSUERS or len(data) < 4 or data[:2] != b"\x30\x82":
            raise AttestationError("the attestation key's issuers are malformed")
        size = 4 + int.from_bytes(data[2:4], "big")
        found.append(chains.read_der(data[:size], "attestation key's issuer"))
        data = data[size:]
    return found


def _check_chain(
    key: x509.Certificate,
    issuers: Sequence[x509.Certificate],
    now: int,
    roots: Sequence[x509.Certificate],
) -> x509.Certificate:
    last = issuers[-1] if issuers else key
    root = next((r for r in roots if r.subject == last.issuer), None)
    if root is None:
        raise AttestationError(
            "no trusted root certifies that TPM's attestation key",
            "name the authority's root certificate in the trust policy (tpm.roots)",
        )
    path = [key, *issuers, root]
    for child, parent in itertools.pairwise(path):
        chains.check_issued(child, parent, "attestation key's chain")
    for certificate in path:
        chains.check_valid(certificate, now, "attestation key's chain")
    return root


def _check_purpose(key: x509.Certificate) -> None:
    """Only a restricted signing key is certified for this: it signs nothing from outside."""
    try:
        usage = key.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usage = x509.ExtendedKeyUsage([])
    if ATTESTATION_KEY not in usage:
        raise AttestationError("the certificate is not for a TPM attestation key")


def _check_revocation(
    crl: bytes, issuer: x509.Certificate, key: x509.Certificate, now: int
) -> tuple[int, int] | None:
    if not crl:
        return None
    parsed = chains.read_crl(crl, "TPM revocation list")
    return chains.check_crl(parsed, issuer, (key,), now, "TPM revocation list")


def _check_signature(
    certificate: x509.Certificate, signature: tpm_quote.Signature, quote: bytes
) -> None:
    key = certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and signature.ecdsa:
            encoded = utils.encode_dss_signature(*signature.ecdsa)
            key.verify(encoded, quote, ec.ECDSA(hashes.SHA256()))
            return
        if isinstance(key, rsa.RSAPublicKey) and signature.rsa and key.key_size >= MIN_RSA:
            key.verify(signature.rsa, quote, padding.PKCS1v15(), hashes.SHA256())
            return
    except InvalidSignature as error:
        raise AttestationError("the signature on the TPM quote is wrong") from error
    raise AttestationError("the attestation key does not fit the signature")


def _check_registers(attest: tpm_quote.Attest, registers: dict[int, bytes]) -> None:
    if not registers or tuple(registers) != attest.selection:
        raise AttestationError("the registers shown are not the registers the TPM quoted")
    if hashlib.sha256(b"".join(registers.values())).digest() != attest.pcr_digest:
        raise AttestationError("the values of the TPM's registers are not those it quoted")


def _claims(
    attest: tpm_quote.Attest,
    registers: dict[int, bytes],
    key: x509.Certificate,
    root: x509.Certificate,
    window: tuple[int, int] | None,
) -> Claims:
    measured = hashlib.sha256(tpm_quote.encode_pcrs(registers)).hexdigest()
    return Claims(
        kind=Kind.TPM,
        vendor=root.subject.rfc4514_string(),
        processor="unknown",
        platform=hashlib.sha256(chains.spki(key)).hexdigest(),
        runtime=f"tpm:{measured}",
        measurements=tuple((f"pcr{i}", value.hex()) for i, value in registers.items()),
        report_data=attest.extra_data,
        tcb_status=UNRATED,
        advisories=(),
        versions=(
            ("firmware", attest.firmware),
            ("clock", attest.clock),
            ("resets", attest.reset_count),
            ("restarts", attest.restart_count),
        ),
        smt=None,
        revocation_checked=window is not None,
        collateral_issued=window[0] if window else None,
        collateral_expires=window[1] if window else None,
    )
