"""From evidence to claims: picks the verifier and the roots. Offline, no I/O, explicit clock.

Invariant: the kind written on the container chooses the root, never the other way round, so that no
evidence can pass for a better kind than its root stands for.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm

from bento.conclave import chains
from bento.conclave.claims import Claims, Kind
from bento.conclave.verify_dcap import verify_dcap
from bento.conclave.verify_snp import amd_roots, verify_snp
from bento.conclave.verify_tpm import verify_tpm
from bento.errors import AttestationError

if TYPE_CHECKING:
    from cryptography import x509

    from bento.conclave.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Roots:
    """Roots beyond the vendors' own, which are built in. None are trusted unless named here."""

    emulated: x509.Certificate | None = None
    tpm: tuple[x509.Certificate, ...] = ()


def appraise(evidence: Evidence, *, now: int, roots: Roots | None = None) -> Claims:
    """Verify `evidence` at the clock `now` (seconds since 1970). Raises AttestationError."""
    try:
        return _verify(evidence, now, roots or Roots())
    except (ValueError, OverflowError, OSError, UnsupportedAlgorithm) as error:
        # The parsers below are lazy about rare fields, and a clock may be beyond all calendars;
        # whatever cannot be read is refused.
        raise AttestationError(f"the {evidence.kind} evidence cannot be read") from error


def _verify(evidence: Evidence, now: int, roots: Roots) -> Claims:
    match evidence.kind:
        case Kind.SGX | Kind.TDX:
            return verify_dcap(evidence, now, chains.pinned("intel-sgx-root")[0])
        case Kind.EMULATED:
            return verify_dcap(evidence, now, roots.emulated)
        case Kind.SNP:
            return verify_snp(evidence, now, amd_roots())
        case Kind.TPM:
            return verify_tpm(evidence, now, roots.tpm)


def check_binding(claims: Claims, expected: bytes) -> None:
    """The evidence was made for exactly this use. Raises AttestationError."""
    if not hmac.compare_digest(claims.report_data, expected):
        raise AttestationError(
            "the evidence is not about this channel",
            "it was replayed, or made for another box, function or session; nothing was uploaded",
        )
