"""A TPM 2.0 quote: TPMS_ATTEST, TPMT_SIGNATURE and the PCR values it speaks about.

Source: TCG "TPM 2.0 Library, part 2: Structures", §10.12.8 (TPMS_ATTEST), §11.3.4 (TPMT_SIGNATURE),
§10.6.2 (TPML_PCR_SELECTION). Only what we accept is readable: one SHA-256 bank, ECDSA or RSASSA.
Pure; any bytes give a value or an AttestationError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from bento.errors import AttestationError

_GENERATED: Final = 0xFF544347  # TPM_GENERATED_VALUE: the TPM made this, not a caller
_QUOTE: Final = 0x8018  # TPM_ST_ATTEST_QUOTE
_RSASSA, _ECDSA, _SHA256 = 0x0014, 0x0018, 0x000B
PCR_SIZE: Final = 32  # bytes, SHA-256 bank
PCR_COUNT: Final = 24
_MAX_FIELD: Final = 512  # bytes; the largest TPM2B here is an RSA-4096 signature


@dataclass(frozen=True, slots=True)
class Attest:
    """Unverified TPMS_ATTEST of a quote. `clock` is milliseconds the TPM has run."""

    signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware: int
    selection: tuple[int, ...]
    pcr_digest: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """Unverified. `rsa` holds an RSASSA signature, else `ecdsa` holds r and s."""

    rsa: bytes | None
    ecdsa: tuple[int, int] | None


class _Reader:
    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    def unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def sized(self) -> bytes:
        (size,) = self.unpack(">H")
        if size > _MAX_FIELD:
            raise AttestationError(f"a field of the {self._what} is too long")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise AttestationError(f"the {self._what} is cut short")
        return self._data[start : self._at]

    def finish(self) -> None:
        if self._at != len(self._data):
            raise AttestationError(f"the {self._what} has bytes after its end")


def parse_attest(data: bytes) -> Attest:
    """Read TPMS_ATTEST. Raises AttestationError."""
    reader = _Reader(data, "TPM quote")
    if reader.unpack(">IH") != (_GENERATED, _QUOTE):
        raise AttestationError("this is no quote made by a TPM")
    signer, extra_data = reader.sized(), reader.sized()
    clock, resets, restarts, safe, firmware = reader.unpack(">QIIBQ")
    count, bank, width = reader.unpack(">IHB")
    if (count, bank, width, safe) not in ((1, _SHA256, 3, 0), (1, _SHA256, 3, 1)):
        raise AttestationError("the TPM quote is not over exactly one bank of SHA-256 registers")
    bits = int.from_bytes(bytes(reader.unpack(">BBB")), "little")
    digest = reader.sized()
    reader.finish()
    return Attest(
        signer=signer,
        extra_data=extra_data,
        clock=clock,
        reset_count=resets,
        restart_count=restarts,
        safe=bool(safe),
        firmware=firmware,
        selection=tuple(i for i in range(PCR_COUNT) if bits >> i & 1),
        pcr_digest=digest,
    )


def parse_signature(data: bytes) -> Signature:
    """Read TPMT_SIGNATURE. Raises AttestationError."""
    reader = _Reader(data, "TPM signature")
    scheme, digest = reader.unpack(">HH")
    if digest != _SHA256 or scheme not in (_RSASSA, _ECDSA):
        raise AttestationError("the TPM signature is of an unknown scheme")
    if scheme == _RSASSA:
        signature = Signature(rsa=reader.sized(), ecdsa=None)
    else:
        r, s = reader.sized(), reader.sized()
        signature = Signature(None, (int.from_bytes(r, "big"), int.from_bytes(s, "big")))
    reader.finish()
    return signature


def parse_pcrs(data: bytes) -> dict[int, bytes]:
    """Read our own list of registers: index:u8 value:32, ascending. Raises AttestationError."""
    step = 1 + PCR_SIZE
    indexes = data[::step]
    if (
        len(data) % step
        or list(indexes) != sorted(set(indexes))
        or any(i >= PCR_COUNT for i in indexes)
    ):
        raise AttestationError("the list of TPM registers is malformed")
    return {data[at]: data[at + 1 : at + step] for at in range(0, len(data), step)}


def encode_pcrs(values: dict[int, bytes]) -> bytes:
    """The inverse of `parse_pcrs`."""
    return b"".join(bytes([i]) + values[i] for i in sorted(values))
