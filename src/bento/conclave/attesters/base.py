"""The interface of every source of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self

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

    @property
    def measurement(self) -> bytes:
        """What a guest of this release is measured as, by attesters that are software of ours; hardware
        measures what runs, and its attesters say nothing here."""
        ...

    def of(self, measured: bytes) -> Attester:
        """The one for a guest that was measured as that when it was started, perhaps by an earlier
        release. Raises HostError."""
        ...

    def evidence(self, report_data: bytes) -> Evidence:
        """Evidence over exactly `REPORT_DATA_SIZE` bytes, collateral stapled.

        Raises HostError if the platform does not answer as documented.
        """
        ...

    def refresh(self, now: int) -> None:
        """Renew what it keeps of the collateral; called daily. `now`: seconds since 1970."""
        ...


class Hardware:
    """For attesters that ask hardware: it measures by itself, and collateral stands in a folder, which
    is read for each evidence."""

    measurement = b""

    def of(self, measured: bytes) -> Self:
        return self

    def refresh(self, now: int) -> None:
        """Nothing is kept."""


def check_report_data(report_data: bytes) -> None:
    if len(report_data) != REPORT_DATA_SIZE:
        raise UsageError(f"report data has {REPORT_DATA_SIZE} bytes")
