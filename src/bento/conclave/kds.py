"""What a box asks AMD's key service, or a cache of it, about its own SNP machine.

Source: AMD 57230, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification":
the VCEK for this chip at its reported firmware, and the list of what was revoked under that root.
Pure. Invariant: nothing here is believed; what comes out is two parts in form, to be verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bento.conclave import chains, snp_report
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bento.conclave.pccs import Answer

AMD: Final = "https://kdsintf.amd.com"
# In the order of the query; a chip before Turin has no first one.
_LEVELS: Final = {
    "fmc": "fmcSPL",
    "boot_loader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}
_UNSAID: Final = ("milan", "genoa")  # what a version 2 report may be of: it does not say
_TURINS_ID: Final = 8  # bytes of the chip's 64 that are in use


def questions(base: str, report: bytes) -> list[dict[str, str]]:
    """The URL of each part for the platform that made `report`, once for each processor that may be.

    Raises AttestationError; for a cloud provider's key (VLEK) too, which is not AMD's to give."""
    parsed = snp_report.parse(report)
    if parsed.signing_key != "VCEK":
        raise AttestationError("the machine signs by a VLEK: its provider has the certificate")
    return [_of(base, parsed, one) for one in ((parsed.product,) if parsed.product else _UNSAID)]


def _of(base: str, report: snp_report.Report, product: str) -> dict[str, str]:
    tcb = report.reported_tcb
    chip = report.chip_id[:_TURINS_ID] if "fmc" in tcb else report.chip_id
    levels = "&".join(f"{word}={tcb[name]:02}" for name, word in _LEVELS.items() if name in tcb)
    folder = f"{base}/vcek/v1/{product.capitalize()}"
    return {"key_certificate": f"{folder}/{chip.hex()}?{levels}", "crl": f"{folder}/crl"}


def assemble(answers: Mapping[str, Answer]) -> dict[str, bytes]:
    """The two parts. Raises AttestationError."""
    parts = {name: answer.body for name, answer in answers.items()}
    chains.read_der(parts["key_certificate"], "endorsement key's certificate")
    chains.read_crl(parts["crl"], "AMD revocation list")
    return parts
