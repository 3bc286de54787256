"""The AMD SEV-SNP attestation report, field by field.

Source: AMD 56860 "SEV Secure Nested Paging Firmware ABI", table 23 (versions 2 to 5); byte offsets
below are that table's. Pure; any bytes give a `Report` or an AttestationError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from bento.errors import AttestationError

SIZE: Final = 1184
SIGNED: Final = 0x2A0  # the signature covers the bytes before it
_VERSIONS: Final = range(2, 6)
_ECDSA_P384_SHA384: Final = 1
_COMPONENT: Final = 72  # r and s: little-endian, 48 bytes used
_TURIN_FAMILY: Final = 0x1A

# Name of each security version -> its byte in the TCB_VERSION word, by processor generation.
_TCB_MILAN_GENOA: Final = {"boot_loader": 0, "tee": 1, "snp": 6, "microcode": 7}
_TCB_TURIN: Final = {"fmc": 0, "boot_loader": 1, "tee": 2, "snp": 3, "microcode": 7}

# (family, model range) from the report's CPUID fields (version 3 on) -> product
_PRODUCTS: Final = (
    (0x19, range(0x10), "milan"),
    (0x19, range(0x10, 0x20), "genoa"),
    (0x19, range(0xA0, 0xB0), "genoa"),
    (0x1A, range(0x20), "turin"),
)
SIGNING_KEYS: Final = {0: "VCEK", 1: "VLEK"}


@dataclass(frozen=True, slots=True)
class Report:
    """Unverified. TCB maps hold one security version number each."""

    version: int
    guest_svn: int
    policy: int
    vmpl: int
    platform_info: int
    signing_key: str
    product: str | None  # None: a version 2 report does not say
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    chip_id: bytes
    reported_tcb: dict[str, int]
    committed_tcb: dict[str, int]
    launch_tcb: dict[str, int]
    signed: bytes
    signature: tuple[int, int]

    @property
    def debug(self) -> bool:
        """Policy bit 19: the host may read the guest's memory through the firmware."""
        return bool(self.policy >> 19 & 1)

    @property
    def migration(self) -> bool:
        """Policy bit 18: a migration agent may move the guest."""
        return bool(self.policy >> 18 & 1)

    @property
    def smt(self) -> bool:
        """Platform info bit 0: simultaneous multithreading is on."""
        return bool(self.platform_info & 1)


def parse(data: bytes) -> Report:
    """Read a report. Raises AttestationError."""
    if len(data) != SIZE:
        raise AttestationError(f"the SNP report has {len(data)} bytes, not {SIZE}")
    version, guest_svn, policy = struct.unpack_from("<IIQ", data)
    vmpl, algorithm = struct.unpack_from("<II", data, 0x30)
    platform_info, key_info = struct.unpack_from("<QI", data, 0x40)
    if version not in _VERSIONS or algorithm != _ECDSA_P384_SHA384:
        raise AttestationError("the SNP report has an unknown version or signature")
    signing_key = SIGNING_KEYS.get(key_info >> 2 & 7)
    if signing_key is None:
        raise AttestationError("the SNP report is not signed by a VCEK or VLEK")
    product = _product(version, *data[0x188:0x18A])
    tcb = _TCB_TURIN if version >= 3 and data[0x188] >= _TURIN_FAMILY else _TCB_MILAN_GENOA
    return Report(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        vmpl=vmpl,
        platform_info=platform_info,
        signing_key=signing_key,
        product=product,
        report_data=data[0x50:0x90],
        measurement=data[0x90:0xC0],
        host_data=data[0xC0:0xE0],
        id_key_digest=data[0xE0:0x110],
        author_key_digest=data[0x110:0x140],
        chip_id=data[0x1A0:0x1E0],
        reported_tcb=_tcb(tcb, data[0x180:0x188]),
        committed_tcb=_tcb(tcb, data[0x1E0:0x1E8]),
        launch_tcb=_tcb(tcb, data[0x1F0:0x1F8]),
        signed=data[:SIGNED],
        signature=_signature(data[SIGNED:]),
    )


def _product(version: int, family: int, model: int) -> str | None:
    if version < 3:
        return None
    for known, models, product in _PRODUCTS:
        if family == known and model in models:
            return product
    raise AttestationError("the SNP report is of an unknown processor")


def _tcb(layout: dict[str, int], word: bytes) -> dict[str, int]:
    return {name: word[index] for name, index in layout.items()}


def _signature(data: bytes) -> tuple[int, int]:
    """The last 512 bytes: r, s, and nothing else. The signature does not cover them, so we do."""
    r, s, rest = data[:_COMPONENT], data[_COMPONENT : 2 * _COMPONENT], data[2 * _COMPONENT :]
    if any(rest):
        raise AttestationError("the SNP report has bytes after its signature")
    return int.from_bytes(r, "little"), int.from_bytes(s, "little")
