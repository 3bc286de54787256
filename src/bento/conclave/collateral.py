"""What a box staples to its evidence: vendors' statements about the platform, kept on disk.

The box fetches, never the client: a vendor asked for a platform's collateral learns who looks at
it. Layout of the folder: `dcap.json` (the nine fields as DCAP tools write them), `snp.crl`,
`snp-key.der` (VCEK or VLEK, where the kernel does not hand it out), `tpm-ak.der`,
`tpm-issuers.der`, `tpm.crl`. Files are replaced whole, so a reader sees the old or the new one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from bento.conclave import verify_dcap
from bento.conclave.claims import Kind
from bento.conclave.evidence import DCAP_PARTS, LAYOUT
from bento.errors import AttestationError, HostError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REFRESH_AFTER: Final = 86400  # seconds; Intel's collateral lives 30 days, revocations must not wait
_DCAP: Final = "dcap.json"
_HEX_PARTS: Final = frozenset(
    ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
)  # the JSON form writes binary parts in hexadecimal

# Kind -> part of its evidence -> file; parts not named come from the platform itself.
_FILES: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.SNP: {"key_certificate": "snp-key.der", "crl": "snp.crl"},
    Kind.TPM: {
        "ak_certificate": "tpm-ak.der",
        "ak_issuers": "tpm-issuers.der",
        "crl": "tpm.crl",
    },
}


def parse_dcap(text: str | bytes) -> dict[str, bytes]:
    """The nine parts from the JSON of a DCAP library. Raises AttestationError."""
    try:
        fields = json.loads(text)
        return {
            name: bytes.fromhex(fields[name]) if name in _HEX_PARTS else fields[name].encode()
            for name in _dcap_names()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AttestationError("the collateral is not the JSON of a DCAP library") from error


class CollateralStore:
    """The folder. Reading it is cheap: it happens once for each piece of evidence."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def parts(self, kind: Kind) -> dict[str, bytes]:
        """The parts of `kind`'s evidence that are stapled; optional ones may be empty.

        Raises HostError if a needed file is missing, AttestationError if it is malformed.
        """
        if kind in (Kind.SGX, Kind.TDX):
            return parse_dcap(self._read(_DCAP, needed=True))
        optional = {part.name for part in LAYOUT[kind][1] if part.optional} | {"key_certificate"}
        files = _FILES.get(kind, {})
        return {part: self._read(name, needed=part not in optional) for part, name in files.items()}

    def due(self, kind: Kind, now: int) -> bool:
        """Whether what is stapled for `kind` is absent or older than a day by its file's time."""
        try:
            changed = (self._folder / _FILES.get(kind, {}).get("crl", _DCAP)).stat().st_mtime
            return now - int(changed) >= REFRESH_AFTER
        except FileNotFoundError:
            return True

    def put(self, kind: Kind, parts: Mapping[str, bytes]) -> None:
        """Keep collateral, verified already. Raises HostError; what is not written stays as it was."""
        files = {name: parts[part] for part, name in _FILES.get(kind, {}).items()}
        if not files:
            fields = {
                name: parts[name].hex() if name in _HEX_PARTS else parts[name].decode()
                for name in _dcap_names()
            }
            files = {_DCAP: json.dumps(fields).encode()}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, data in files.items():
                temporary = self._folder / f"{name}.new"
                temporary.write_bytes(data)
                temporary.replace(self._folder / name)
        except OSError as error:
            raise HostError(f"{self._folder} cannot be written: {error.strerror}") from error

    def window(self, kind: Kind) -> tuple[int, int]:
        """When the oldest piece of what is stapled was issued, when the first of them ends: seconds
        since 1970. What nobody has verified may lie. Raises HostError, AttestationError."""
        parts = self.parts(kind)
        if kind in (Kind.SGX, Kind.TDX):
            return verify_dcap.window(parts)
        if not parts["crl"]:
            raise HostError("no revocation list is in the box's collateral folder")
        return verify_dcap.list_window(parts["crl"], "crl")

    def _read(self, name: str, *, needed: bool) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError as error:
            if not needed:
                return b""
            raise HostError(f"{name} is missing from the box's collateral folder") from error


def _dcap_names() -> list[str]:
    return [part.name for part in DCAP_PARTS if part.name != "quote"]
