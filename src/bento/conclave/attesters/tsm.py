"""A confidential VM, TDX or SNP, through the kernel's configfs. **Untested on hardware.**

Source: Linux, Documentation/ABI/testing/configfs-tsm (6.7 and later): make a folder under
/sys/kernel/config/tsm/report, write up to 64 bytes to `inblob`, read `outblob`, `auxblob`,
`provider` and `generation`. The generation counts writes: another value than ours at the end means
that somebody else used the same folder in between and the answer may not be ours.
AMD's certificate table in `auxblob`: AMD 56421 (GHCB), "SNP extended guest request".
The folder is a parameter so that tests can put a stand-in there.
"""

from __future__ import annotations

import os
import struct
import uuid
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bento.conclave import dcap_quote
from bento.conclave.attesters.base import UNTESTED, Hardware, check_report_data
from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence
from bento.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bento.conclave.collateral import CollateralStore

FOLDER: Final = Path("/sys/kernel/config/tsm/report")
PROVIDERS: Final = {"tdx_guest": Kind.TDX, "sev_guest": Kind.SNP}
_MAX_BLOB: Final = 32 * 1024  # bytes, the kernel's own limit (TSM_OUTBLOB_MAX)
_ENTRY: Final = struct.Struct("<16sII")  # key id, offset, length
_MAX_ENTRIES: Final = 16
make_entry, remove_entry = Path.mkdir, Path.rmdir  # configfs fills and empties a folder by itself
_KEY_IDS: Final = frozenset(
    uuid.UUID(text).bytes
    for text in (
        "63da758d-e664-4564-adc5-f4b93be8accd",  # VCEK
        "a8074bc2-a25a-483e-aae6-39c045a0b8a1",  # VLEK
    )
)


class TsmAttester(Hardware):
    """Evidence of the virtual machine this process runs in."""

    remark = f"confidential VM (TDX, SNP) through configfs: {UNTESTED}"

    def __init__(self, kind: Kind, collateral: CollateralStore, folder: Path = FOLDER) -> None:
        self.kind = kind
        self._collateral = collateral
        self._folder = folder

    def evidence(self, report_data: bytes) -> Evidence:
        return self._pack(*self._ask(report_data))

    def quote(self, report_data: bytes) -> bytes:
        """A TDX quote or SNP report alone, for which collateral is to be found. Raises HostError."""
        blob, _ = self._ask(report_data)
        return dcap_quote.trim(blob) if self.kind is Kind.TDX else blob

    def _ask(self, report_data: bytes) -> tuple[bytes, bytes]:
        check_report_data(report_data)
        try:
            with self._entry() as entry:
                (entry / "inblob").write_bytes(report_data)
                blob, extra = _read(entry / "outblob"), _read(entry / "auxblob")
                provider = (entry / "provider").read_text().strip()
                generation = (entry / "generation").read_text().strip()
        except OSError as error:
            raise HostError("the kernel's TSM report interface does not answer") from error
        if PROVIDERS.get(provider) is not self.kind:
            raise HostError(f"this machine's evidence comes from {provider!r}, not {self.kind}")
        if generation != "1":
            raise HostError("another process used our TSM report folder")
        return blob, extra

    @contextmanager
    def _entry(self) -> Iterator[Path]:
        entry = self._folder / f"bento-{os.urandom(8).hex()}"
        make_entry(entry)
        try:
            yield entry
        finally:
            remove_entry(entry)

    def _pack(self, blob: bytes, extra: bytes) -> Evidence:
        stapled = self._collateral.parts(self.kind)
        if self.kind is Kind.TDX:
            parts = {"quote": dcap_quote.trim(blob), **stapled}
        else:
            parts = {"report": blob, **stapled}
            parts["key_certificate"] = key_certificate(extra) or stapled["key_certificate"]
        return Evidence(self.kind, MappingProxyType(parts))


def key_certificate(table: bytes) -> bytes:
    """The VCEK or VLEK (DER) in AMD's certificate table, or nothing. Raises HostError."""
    for number in range(_MAX_ENTRIES):
        if (number + 1) * _ENTRY.size > len(table):
            return b""
        key_id, offset, length = _ENTRY.unpack_from(table, number * _ENTRY.size)
        if not any(key_id):
            return b""
        if offset + length > len(table):
            raise HostError("the kernel's certificate table is malformed")
        if key_id in _KEY_IDS:
            return table[offset : offset + length]
    raise HostError("the kernel's certificate table is too long")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_BLOB + 1)
    if len(data) > _MAX_BLOB:
        raise HostError("the kernel's TSM answer is too long")
    return data
