"""Which sources of evidence this machine seems to have; for `bentod check`. Looks, asks nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bento.conclave.attesters import emulated, tpm, tsm
from bento.conclave.attesters.gramine_sgx import GramineSgxAttester

if TYPE_CHECKING:
    from collections.abc import Iterator

# Source -> paths of which one must exist, and what the operator is told of it.
_SIGNS: Final = (
    ("gramine-sgx", ("dev/sgx_enclave", "dev/attestation"), GramineSgxAttester.remark),
    (
        "tsm",
        ("sys/kernel/config/tsm/report", "dev/tdx_guest", "dev/sev-guest"),
        tsm.TsmAttester.remark,
    ),
    ("tpm", ("dev/tpmrm0", "dev/tpm0"), tpm.TpmAttester.remark),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One source: whether its device is there, and its limits in one line."""

    source: str
    present: bool
    remark: str


def survey(root: Path = Path("/")) -> Iterator[Finding]:
    """Every source, best first; `root` is the machine's, or a stand-in's."""
    for source, paths, remark in _SIGNS:
        yield Finding(source, any((root / path).exists() for path in paths), remark)
    yield Finding("emulated", True, emulated.REMARK)
