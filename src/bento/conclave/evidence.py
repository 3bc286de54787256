"""The container evidence travels in: one kind, and that kind's parts in one fixed order.

    "BENTO-EV" 0x01  kind:u8  (length:u32 bytes){one per part of the kind's table}

Invariant: any bytes give an `Evidence` or an `AttestationError`; an `Evidence` encodes to exactly
the bytes it was parsed from. There is one way to write a given evidence: no optional order, no
unknown part, nothing after the last part. What the parts mean is the verifiers' business.

Collateral is stapled (RFC 9334 calls this the passport of the endorser): the verifier is the
client, and asking a vendor for collateral would tell the vendor who looks at which box.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bento.conclave.claims import Kind
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAGIC: Final = b"BENTO-EV\x01"
MAX_EVIDENCE: Final = (
    256 * 1024
)  # bytes; the largest real one seen is 20 kB, a long CRL adds 100 kB
_HEAD = struct.Struct(">9sB")
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Part:
    """One named part: its size limit in bytes, and whether it may be empty."""

    name: str
    limit: int
    optional: bool = False


_CHAIN, _CRL, _SIGNATURE = 16 * 1024, 128 * 1024, 64

DCAP_PARTS: Final = (
    Part("quote", 16 * 1024),
    Part("pck_crl_issuer_chain", _CHAIN),
    Part("root_ca_crl", _CRL),
    Part("pck_crl", _CRL),
    Part("tcb_info_issuer_chain", _CHAIN),
    Part("tcb_info", 64 * 1024),
    Part("tcb_info_signature", _SIGNATURE),
    Part("qe_identity_issuer_chain", _CHAIN),
    Part("qe_identity", 16 * 1024),
    Part("qe_identity_signature", _SIGNATURE),
)
SNP_PARTS: Final = (
    Part("report", 1184),
    Part("key_certificate", 4 * 1024),
    Part("crl", _CRL, optional=True),
)
TPM_PARTS: Final = (
    Part("quote", 1024),
    Part("signature", 1024),
    Part("pcrs", 24 * 33),
    Part("ak_certificate", 4 * 1024),
    Part("ak_issuers", 4 * 4 * 1024, optional=True),
    Part("crl", _CRL, optional=True),
)

# Kind -> its number on the wire and its parts. Numbers never change their meaning.
LAYOUT: Final[Mapping[Kind, tuple[int, tuple[Part, ...]]]] = MappingProxyType(
    {
        Kind.SGX: (1, DCAP_PARTS),
        Kind.TDX: (2, DCAP_PARTS),
        Kind.SNP: (3, SNP_PARTS),
        Kind.TPM: (4, TPM_PARTS),
        Kind.EMULATED: (0xEE, DCAP_PARTS),
    }
)
_KIND_OF: Final = {number: kind for kind, (number, _) in LAYOUT.items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Unverified evidence of one kind; `parts` has exactly the names of that kind's table."""

    kind: Kind
    parts: Mapping[str, bytes]

    def __post_init__(self) -> None:
        table = LAYOUT[self.kind][1]
        if set(self.parts) != {part.name for part in table}:
            raise AttestationError(f"evidence of kind {self.kind} has the wrong parts")
        for part in table:
            _check_size(self.kind, part, len(self.parts[part.name]))

    def encode(self) -> bytes:
        number, table = LAYOUT[self.kind]
        pieces = [_HEAD.pack(MAGIC, number)]
        for part in table:
            data = self.parts[part.name]
            pieces += (_LENGTH.pack(len(data)), data)
        return b"".join(pieces)

    @classmethod
    def decode(cls, data: bytes) -> Evidence:
        """Parse a container. Raises AttestationError for anything but its exact form."""
        if len(data) > MAX_EVIDENCE:
            raise AttestationError(f"evidence has {len(data)} bytes, more than {MAX_EVIDENCE}")
        if len(data) < _HEAD.size or not data.startswith(MAGIC):
            raise AttestationError("this is no Bento evidence")
        kind = _KIND_OF.get(data[_HEAD.size - 1])
        if kind is None:
            raise AttestationError("evidence of an unknown kind")
        return cls(kind, MappingProxyType(dict(_parts(kind, data))))

    def replace(self, **parts: bytes) -> Evidence:
        """The same evidence with some parts exchanged."""
        return Evidence(self.kind, MappingProxyType({**self.parts, **parts}))


def _parts(kind: Kind, data: bytes) -> Iterator[tuple[str, bytes]]:
    offset = _HEAD.size
    for part in LAYOUT[kind][1]:
        start = offset + _LENGTH.size
        if start > len(data):
            raise AttestationError("evidence is cut short")
        (size,) = _LENGTH.unpack_from(data, offset)
        _check_size(kind, part, size)
        offset = start + size
        if offset > len(data):
            raise AttestationError("evidence is cut short")
        yield part.name, data[start:offset]
    if offset != len(data):
        raise AttestationError("evidence has bytes after its end")


def _check_size(kind: Kind, part: Part, size: int) -> None:
    if size > part.limit:
        raise AttestationError(f"{kind} evidence: {part.name} has {size} bytes, limit {part.limit}")
    if not size and not part.optional:
        raise AttestationError(f"{kind} evidence: {part.name} is missing")
