"""An SGX enclave under Gramine. **Untested on hardware**: written to Gramine's documentation.

Source: gramine.readthedocs.io, "Attestation and Secret Provisioning" (low-level /dev/attestation
interface): write 64 bytes to `user_report_data`, read `quote`; `attestation_type` must say "dcap".
The folder is a parameter so that tests can put a stand-in there.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bento.conclave import dcap_quote
from bento.conclave.attesters.base import UNTESTED, Hardware, check_report_data
from bento.conclave.claims import Kind
from bento.conclave.evidence import DCAP_PARTS, Evidence
from bento.errors import HostError

if TYPE_CHECKING:
    from bento.conclave.collateral import CollateralStore

FOLDER: Final = Path("/dev/attestation")
_MAX_QUOTE: Final = DCAP_PARTS[0].limit


class GramineSgxAttester(Hardware):
    """Evidence of the enclave this process runs in."""

    kind = Kind.SGX
    remark = f"SGX through Gramine: {UNTESTED}"

    def __init__(self, collateral: CollateralStore, folder: Path = FOLDER) -> None:
        self._collateral = collateral
        self._folder = folder

    def evidence(self, report_data: bytes) -> Evidence:
        check_report_data(report_data)
        try:
            if (self._folder / "attestation_type").read_text().strip() != "dcap":
                raise HostError("Gramine was started without DCAP attestation", _HINT)
            (self._folder / "user_report_data").write_bytes(report_data)
            with (self._folder / "quote").open("rb") as file:
                quote = dcap_quote.trim(file.read(_MAX_QUOTE + 1))
        except OSError as error:
            raise HostError("Gramine's attestation device does not answer", _HINT) from error
        parts = {"quote": quote, **self._collateral.parts(Kind.SGX)}
        return Evidence(Kind.SGX, MappingProxyType(parts))


_HINT: Final = 'the manifest needs sgx.remote_attestation = "dcap"'
