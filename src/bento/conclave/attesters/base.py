"""The interface of every source of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from bento.conclave.claims import REPORT_DATA_SIZE
from bento.errors import UsageError

if TYPE_CHECKING:
    from bento.conclave.claims import Kind
    from bento.conclave.evidence import Evidence

UNTESTED: Final = "untested on hardware"


class Attester(Protocol):
    """Turns 64 bytes into evidence that this runtime, on this platform, was given those bytes."""

    @property
    def kind(self) -> Kind: ...

    @property
    def remark(self) -> str:
        """What an operator is told about this source: its limits, or that it is untested."""
        ...

    def evidence(self, report_data: bytes) -> Evidence:
        """Evidence over exactly `REPORT_DATA_SIZE` bytes, collateral stapled.

        Raises HostError if the platform does not answer as documented.
        """
        ...

    def refresh(self, now: int) -> None:
        """Renew what it keeps of the collateral; called daily. `now`: seconds since 1970."""
        ...


class ReadsItsFolder:
    """For attesters whose collateral stands in a folder, which is read for each evidence."""

    def refresh(self, now: int) -> None:
        """Nothing is kept."""


def check_report_data(report_data: bytes) -> None:
    if len(report_data) != REPORT_DATA_SIZE:
        raise UsageError(f"report data has {REPORT_DATA_SIZE} bytes")
