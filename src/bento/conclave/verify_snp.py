"""AMD SEV-SNP evidence: report, VCEK or VLEK certificate, AMD's revocation list.

Order of checks: the key's certificate up to a pinned root; the revocation list; the report's
signature; then that certificate and report speak of the same chip and firmware (AMD 57230,
"Versioned Chip Endorsement Key Certificate"); last what is never acceptable: debug,
a migration agent, a report asked for by less privileged code than the guest's own (VMPL 0).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from bento.conclave import chains, snp_report
from bento.conclave.claims import UNRATED, Claims, Kind
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bento.conclave.evidence import Evidence

_OID: Final = "1.3.6.1.4.1.3704.1."
_CHIP_ID: Final = _OID + "4"
_CSP_ID: Final = _OID + "5"  # a VLEK names a cloud provider instead of a chip
_TCB_OIDS: Final = {
    "boot_loader": _OID + "3.1",
    "tee": _OID + "3.2",
    "snp": _OID + "3.3",
    "microcode": _OID + "3.8",
    "fmc": _OID + "3.9",
}
_SHORT_CHIP_ID: Final = 8  # bytes; Turin's certificates carry only the used part of the 64


def amd_roots() -> dict[str, tuple[x509.Certificate, ...]]:
    """Product -> (ARK, ASK, ASVK): the root, the issuer of VCEKs, the issuer of VLEKs."""
    return {product: chains.pinned(f"amd-{product}") for product in ("milan", "genoa", "turin")}


def verify_snp(
    evidence: Evidence, now: int, roots: Mapping[str, tuple[x509.Certificate, ...]]
) -> Claims:
    """Claims of SNP evidence at `now` (seconds since 1970). Raises AttestationError."""
    report = snp_report.parse(evidence.parts["report"])
    key = chains.read_der(evidence.parts["key_certificate"], "endorsement key's certificate")
    product, root, issuer = _issuer(key, report.signing_key, roots)
    for certificate, parent, what in (
        (root, root, "AMD root"),
        (issuer, root, "AMD intermediate"),
        (key, issuer, "endorsement key's certificate"),
    ):
        chains.check_issued(certificate, parent, what)
        chains.check_valid(certificate, now, what)
    window = _check_revocation(evidence.parts["crl"], root, issuer, now)
    _check_signature(report, key)
    _check_same_platform(report, key, product)
    _check_never_acceptable(report)
    return _claims(report, key, product, window)


def _issuer(
    key: x509.Certificate, signing_key: str, roots: Mapping[str, tuple[x509.Certificate, ...]]
) -> tuple[str, x509.Certificate, x509.Certificate]:
    """The pinned product whose ASK (or ASVK) the certificate names as its issuer."""
    for product, (ark, ask, asvk) in roots.items():
        issuer = ask if signing_key == "VCEK" else asvk
        if key.issuer == issuer.subject:
            return product, ark, issuer
    raise AttestationError(f"the {signing_key} is not issued under a known AMD root")


def _check_revocation(
    crl: bytes, root: x509.Certificate, issuer: x509.Certificate, now: int
) -> tuple[int, int] | None:
    """AMD's list is signed by the root and names intermediates: a VCEK has no serial number."""
    if not crl:
        return None
    parsed = chains.read_crl(crl, "AMD revocation list")
    return chains.check_crl(parsed, root, (root, issuer), now, "AMD revocation list")


def _check_signature(report: snp_report.Report, certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise AttestationError("the endorsement key is not a P-384 key")
    try:
        signature = utils.encode_dss_signature(*report.signature)
        key.verify(signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise AttestationError("the signature on the SNP report is wrong") from error


def _check_same_platform(
    report: snp_report.Report, certificate: x509.Certificate, product: str
) -> None:
    fields = {
        e.oid.dotted_string: e.value.value
        for e in certificate.extensions
        if isinstance(e.value, x509.UnrecognizedExtension)
    }
    if report.product not in (None, product):
        raise AttestationError("the SNP report is of another processor than its key")
    for name, reported in report.reported_tcb.items():
        if _der_integer(fields.get(_TCB_OIDS[name], b"")) != reported:
            raise AttestationError(f"the key is not for the reported firmware ({name})")
    if report.signing_key == "VLEK":
        if _CSP_ID not in fields:
            raise AttestationError("the VLEK names no cloud provider")
        return
    # The identifier is bare bytes in older certificates, a DER octet string never seen so far.
    chip = fields.get(_CHIP_ID, b"")
    if len(chip) not in (_SHORT_CHIP_ID, 64) or chip.ljust(64, b"\0") != report.chip_id:
        raise AttestationError("the key is not of the reporting chip")


def _der_integer(data: bytes) -> int:
    if len(data) < 3 or data[0] != 2 or data[1] != len(data) - 2:
        raise AttestationError("the endorsement key's certificate lacks a firmware version")
    return int.from_bytes(data[2:], "big")


def _check_never_acceptable(report: snp_report.Report) -> None:
    if report.debug:
        raise AttestationError("the SNP guest allows debugging: its host reads its memory")
    if report.migration:
        raise AttestationError("the SNP guest may be moved by a migration agent")
    if report.vmpl != 0:
        raise AttestationError(f"the SNP report was made at privilege level {report.vmpl}, not 0")


def _claims(
    report: snp_report.Report,
    certificate: x509.Certificate,
    product: str,
    window: tuple[int, int] | None,
) -> Claims:
    measured = (
        report.measurement,
        report.host_data,
        report.id_key_digest,
        report.author_key_digest,
    )
    names = ("measurement", "host_data", "id_key_digest", "author_key_digest")
    vlek = report.signing_key == "VLEK"
    certificate_id = hashlib.sha256(chains.spki(certificate)).hexdigest()
    return Claims(
        kind=Kind.SNP,
        vendor="AMD",
        processor=product,
        platform=f"vlek:{certificate_id}" if vlek else report.chip_id.hex(),
        runtime=f"snp:{hashlib.sha384(b''.join(measured)).hexdigest()}",
        measurements=tuple((n, m.hex()) for n, m in zip(names, measured, strict=True)),
        report_data=report.report_data,
        tcb_status=UNRATED,
        advisories=(),
        versions=(*report.reported_tcb.items(), ("guest", report.guest_svn)),
        smt=report.smt,
        revocation_checked=window is not None,
        collateral_issued=window[0] if window else None,
        collateral_expires=window[1] if window else None,
    )
