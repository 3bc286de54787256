"""Evidence files of others: raw quotes and reports, with collateral as the vendors' tools write it.

For people who have hardware and contribute samples, and for checking theirs. What is read here is
only re-packed; the verifiers judge it like any other evidence.
Any bytes give an `Evidence` or an AttestationError.
"""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from bento.conclave import chains, dcap_quote, snp_report
from bento.conclave.claims import Kind
from bento.conclave.collateral import parse_dcap
from bento.conclave.evidence import MAGIC, MAX_EVIDENCE, Evidence
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEES: Final = {dcap_quote.SGX_TEE: Kind.SGX, dcap_quote.TDX_TEE: Kind.TDX}


def from_files(
    data: bytes,
    collateral: bytes | None = None,
    certificates: Sequence[bytes] = (),
    kind: Kind | None = None,
) -> Evidence:
    """Evidence from a container, or from a raw quote or report with its collateral.

    `collateral` is the nine-field JSON of Intel's collateral, or AMD's revocation list (DER);
    `certificates` are PEM or DER files among which the endorsement key's is found.
    `kind` is needed only for a raw file that does not tell; it must agree with one that does.
    Raises AttestationError.
    """
    if len(data) > MAX_EVIDENCE:
        raise AttestationError("the evidence file is too large")
    if data.startswith(MAGIC):
        evidence = Evidence.decode(data)
    else:
        raw = _unhex(data)
        if len(raw) == snp_report.SIZE:
            evidence = _snp(raw, collateral, certificates)
        else:
            evidence = _dcap(raw, collateral, kind)
    if kind not in (None, evidence.kind):
        raise AttestationError(f"the file holds evidence of kind {evidence.kind}, not {kind}")
    return evidence


def _unhex(data: bytes) -> bytes:
    """Report dumps are often hexadecimal text."""
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError:
        return data


def _dcap(raw: bytes, collateral: bytes | None, kind: Kind | None) -> Evidence:
    quote = dcap_quote.trim(raw)
    found = _TEES[dcap_quote.parse(quote).tee]
    if kind is Kind.EMULATED and found is Kind.SGX:
        found = kind  # the same format; the root will tell them apart
    if collateral is None:
        raise AttestationError("a quote cannot be checked without its collateral", "--collateral")
    parts = parse_dcap(collateral)
    return Evidence(found, MappingProxyType({"quote": quote, **parts}))


def _snp(raw: bytes, crl: bytes | None, certificates: Sequence[bytes]) -> Evidence:
    found = [chains.der(c) for blob in certificates for c in _certificates(blob) if _is_leaf(c)]
    if len(found) != 1:
        raise AttestationError(
            f"{len(found)} endorsement key certificates were given, not one", "--certs"
        )
    parts = {"report": raw, "key_certificate": found[0], "crl": crl or b""}
    return Evidence(Kind.SNP, MappingProxyType(parts))


def _certificates(blob: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN" not in blob:
        return [chains.read_der(blob, "given file")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x509.load_pem_x509_certificates(blob)
    except ValueError as error:
        raise AttestationError("a given file holds no certificates") from error


def _is_leaf(certificate: x509.Certificate) -> bool:
    """AMD's authorities hold RSA keys, endorsement keys are elliptic."""
    try:
        return isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    except Exception as error:  # an unknown key type raises several unrelated errors
        raise AttestationError("a given certificate has an unreadable key") from error
