"""The frame of an SGX or TDX quote: every length exact, nothing unread.

Source: Intel, "SGX ECDSA Quote Generation/Verification Library Reference" (quote v3) and "TDX DCAP
Quote Library" (v4, v5), appendix A of each. dcap-qvl judges the signatures; it tolerates bytes
behind the structures it reads, so this parser comes first and tolerates none.
Pure; any bytes give a `Quote` or an AttestationError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from bento.errors import AttestationError

SGX_TEE: Final = 0x00
TDX_TEE: Final = 0x81
_HEADER: Final = struct.Struct("<HHI40s")  # version, attestation key type, TEE type, the rest
_BODY_V5: Final = struct.Struct("<HI")  # body type, size
_U16, _U32, _TYPED = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<HI")

# (version, TEE, body type of v5) -> size of the body in bytes
_BODIES: Final = {
    (3, SGX_TEE, 0): 384,
    (4, TDX_TEE, 0): 584,
    (5, TDX_TEE, 2): 584,
    (5, TDX_TEE, 3): 648,
}
_QE_REPORT_CERTIFICATION, _PCK_CHAIN = 6, 5  # certification data types


@dataclass(frozen=True, slots=True)
class Quote:
    """Unverified. `body` is the enclave report or TD report; `chain` the PCK chain as PEM."""

    version: int
    tee: int
    body: bytes
    chain: bytes


class _Reader:
    """Takes bytes from the front; asks for all of them in the end."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise AttestationError(f"the {self._what} is cut short")
        return self._data[start : self._at]

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def finish(self) -> None:
        if self._at != len(self._data):
            raise AttestationError(f"the {self._what} has bytes after its end")


def parse(data: bytes) -> Quote:
    """Split a quote into its parts. Raises AttestationError."""
    reader = _Reader(data, "quote")
    version, _key_type, tee, _rest = _HEADER.unpack(reader.take(_HEADER.size))
    body_type, size = reader.unpack(_BODY_V5) if version == 5 else (0, 0)
    expected = _BODIES.get((version, tee, body_type))
    if expected is None or (version == 5 and size != expected):
        raise AttestationError("the quote has an unknown version or type")
    body = reader.take(expected)
    (size,) = reader.unpack(_U32)
    signature = reader.take(size)
    reader.finish()
    return Quote(version, tee, body, _chain(signature, nested=version >= 4))


def _chain(signature: bytes, *, nested: bool) -> bytes:
    reader = _Reader(signature, "quote's signature")
    reader.take(64 + 64)  # signature by, and public half of, the attestation key
    if nested:  # quote v4 wraps the quoting enclave's report into certification data
        inner = _certification(reader, _QE_REPORT_CERTIFICATION)
        reader = _Reader(inner, "quoting enclave's report")
    reader.take(384 + 64)  # the quoting enclave's report and its signature by the PCK
    (size,) = reader.unpack(_U16)
    reader.take(size)
    return _certification(reader, _PCK_CHAIN)


def _certification(reader: _Reader, wanted: int) -> bytes:
    kind, size = reader.unpack(_TYPED)
    data = reader.take(size)
    reader.finish()
    if kind != wanted:
        raise AttestationError("the quote carries no PCK certificate chain")
    return data


def trim(data: bytes) -> bytes:
    """A quote without the zero bytes kernels pad it with (configfs-tsm on TDX); else unchanged."""
    if len(data) < _HEADER.size + _BODY_V5.size:
        return data
    version, _, tee, _ = _HEADER.unpack_from(data)
    body_type = _BODY_V5.unpack_from(data, _HEADER.size)[0] if version == 5 else 0
    body = _BODIES.get((version, tee, body_type))
    if body is None:
        return data
    start = _HEADER.size + (_BODY_V5.size if version == 5 else 0) + body
    if start + _U32.size > len(data):
        return data
    end = start + _U32.size + _U32.unpack_from(data, start)[0]
    return data if any(data[end:]) else data[:end]
