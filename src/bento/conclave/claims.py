"""What evidence says, in words that are the same for every kind of hardware.

Invariant: a `Claims` value exists only for evidence whose signatures, chain, validity and
debug state were checked; it holds facts, never an opinion. Opinions are `trust.py`'s.
Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

REPORT_DATA_SIZE = (
    64  # bytes a guest may put into SGX, TDX and SNP evidence; we use the same in a TPM quote
)

UNRATED = "Unrated"  # `tcb_status` of vendors that publish version numbers but no verdict on them


class Kind(StrEnum):
    """Who signs the evidence. The value is the word used in files, tickets and policies."""

    SGX = "sgx"
    TDX = "tdx"
    SNP = "snp"
    TPM = "tpm"
    EMULATED = "emulated"


class Level(IntEnum):
    """How much a kind of evidence promises; a higher level keeps more out of the trusted base."""

    NONE = 0
    EMULATED = 1  # the protocol only: the operator reads everything
    BOOT = 2  # which software booted; root on the machine still reads memory
    VM = 3  # memory encrypted against the host; the guest's kernel is trusted
    PROCESS = 4  # memory encrypted against host and kernel


LEVELS: dict[Kind, Level] = {
    Kind.SGX: Level.PROCESS,
    Kind.TDX: Level.VM,
    Kind.SNP: Level.VM,
    Kind.TPM: Level.BOOT,
    Kind.EMULATED: Level.EMULATED,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """Facts proven by one piece of evidence at one moment of the verifier's clock.

    `runtime` is the one string a policy names a runtime by: the kind and a digest over everything
    that was measured. `measurements` lists the parts. `versions` are security version numbers
    that only grow. Times are seconds since 1970, UTC; None where the format carries none.
    """

    kind: Kind
    vendor: str
    processor: str
    platform: str
    runtime: str
    measurements: tuple[tuple[str, str], ...]
    report_data: bytes
    tcb_status: str
    advisories: tuple[str, ...]
    versions: tuple[tuple[str, int], ...]
    smt: bool | None
    revocation_checked: bool
    collateral_issued: int | None
    collateral_expires: int | None

    @property
    def level(self) -> Level:
        return LEVELS[self.kind]

    def version(self, name: str) -> int | None:
        """The version number called `name`, or None if this kind has none of that name."""
        return dict(self.versions).get(name)
