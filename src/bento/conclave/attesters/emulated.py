"""A software platform that issues SGX DCAP quotes and collateral under a test root.

It exists so that every path of accepting and refusing runs on a machine without a TEE: real
formats, checked by the very code that checks real quotes; only the root differs, and a client
accepts that root only if its trust policy names it. **It protects nothing**: whoever runs it reads
the conclave's memory.

`EmulatedPlatform` stands for the processor and its quoting enclave, so it lives on the box and
measures the runtime itself, as hardware does; the guest hands over 64 bytes and nothing else.
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bento.conclave.attesters import emulated_pki as pki
from bento.conclave.attesters.base import check_report_data
from bento.conclave.claims import REPORT_DATA_SIZE, Kind
from bento.conclave.evidence import DCAP_PARTS, Evidence
from bento.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REMARK: Final = "emulated: exercises the protocol, protects nothing from the operator"
COLLATERAL_DAYS: Final = 30  # as Intel's
FMSPC: Final = bytes.fromhex("00f0f0f0f000")
_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")  # Intel's: format, not claim
_CPU_SVN: Final = bytes([11, 11, 2, 2, 255, 1]) + bytes(10)
_PCE_SVN: Final = 13
_QE_SIGNER: Final = hashlib.sha256(b"emulated quoting enclave signer").digest()
_RUNTIME_SIGNER: Final = hashlib.sha256(b"emulated runtime signer").digest()
_QE_AUTH: Final = bytes(range(32))
_INIT, _DEBUG, _MODE64, _PROVISION = 0x01, 0x02, 0x04, 0x10  # SGX attribute flags
_XFRM: Final = 0xE7
_NAMES: Final = ("root", "ca", "tcb", "pck")


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the emulated world that collateral describes; the default is a healthy one."""

    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    evaluation: int = 17
    minimum_pce: int = _PCE_SVN
    revoked: tuple[str, ...] = ()
    """Names of certificates on the revocation lists: "pck", "ca", "tcb"."""


class EmulatedPlatform:
    """One emulated machine: a PKI, a quoting enclave and its attestation key."""

    def __init__(self, identities: dict[str, pki.Identity], ppid: bytes) -> None:
        self._identities = identities
        self._ppid = ppid
        self._attestation_key = ec.generate_private_key(ec.SECP256R1())

    @classmethod
    def create(cls, now: int, root: EmulatedPlatform | None = None) -> EmulatedPlatform:
        """A new machine; under the root of another one, if given. `now`: seconds since 1970."""
        moment = _moment(now)
        ppid = os.urandom(16)
        extension = pki.sgx_extension(ppid, _CPU_SVN, _PCE_SVN, FMSPC)
        new = pki.new_identity
        top = root._identities["root"] if root else new("Emulated Root CA", moment, ca=True)
        ca = new("Emulated PCK Processor CA", moment, top, ca=True, path_length=0)
        return cls(
            {
                "root": top,
                "ca": ca,
                "tcb": new("Emulated TCB Signing", moment, top, ca=False),
                "pck": new("Emulated PCK", moment, ca, ca=False, sgx_extension=extension),
            },
            ppid,
        )

    @property
    def root(self) -> x509.Certificate:
        """What a client must name to accept this platform."""
        return self._identities["root"].certificate

    @property
    def platform_id(self) -> str:
        return self._ppid.hex()

    # --- evidence

    def quote(self, measurement: bytes, report_data: bytes, *, debug: bool = False) -> bytes:
        """A quote (v3) that the runtime `measurement` (32 bytes) was given `report_data` (64)."""
        if len(measurement) != 32 or len(report_data) != REPORT_DATA_SIZE:
            raise UsageError("a measurement has 32 bytes and report data 64")
        flags = _INIT | _MODE64 | (_DEBUG if debug else 0)
        body = _enclave_report(measurement, _RUNTIME_SIGNER, report_data, flags)
        header = struct.pack("<HHIHH", 3, 2, 0, 8, _PCE_SVN) + _QE_VENDOR + bytes(20)
        signature = self._signature(header + body)
        return header + body + struct.pack("<I", len(signature)) + signature

    def _signature(self, signed: bytes) -> bytes:
        public = pki.raw_public(self._attestation_key)
        bound = hashlib.sha256(public + _QE_AUTH).digest() + bytes(32)
        name = hashlib.sha256(b"emulated quoting enclave").digest()
        enclave = _enclave_report(name, _QE_SIGNER, bound, _INIT | _PROVISION, product=1, svn=8)
        by = self._identities
        chain = pki.pem(*(by[n].certificate for n in ("pck", "ca", "root")))
        return b"".join(
            (
                pki.raw_signature(self._attestation_key, signed),
                public,
                enclave,
                by["pck"].sign_raw(enclave),
                struct.pack("<H", len(_QE_AUTH)) + _QE_AUTH,
                struct.pack("<HI", 5, len(chain)) + chain,
            )
        )

    def collateral(
        self, now: int, condition: Condition | None = None, days: int = COLLATERAL_DAYS
    ) -> dict[str, bytes]:
        """The nine parts Intel's service would give at `now`, by their names in the container."""
        condition = condition or Condition()
        by, issued = self._identities, _moment(now)
        expires = issued + dt.timedelta(days=days)
        info = _document(_tcb_info(condition), issued, expires)
        identity = _document(_qe_identity(condition), issued, expires)
        listed = [by[name].certificate for name in condition.revoked]
        signing_chain = pki.pem(by["tcb"].certificate, self.root)
        return {
            "pck_crl_issuer_chain": pki.pem(by["ca"].certificate, self.root),
            "root_ca_crl": pki.revocation_list(
                by["root"], issued, expires, _issued_by(listed, self.root)
            ),
            "pck_crl": pki.revocation_list(
                by["ca"], issued, expires, _issued_by(listed, by["ca"].certificate)
            ),
            "tcb_info_issuer_chain": signing_chain,
            "tcb_info": info,
            "tcb_info_signature": by["tcb"].sign_raw(info),
            "qe_identity_issuer_chain": signing_chain,
            "qe_identity": identity,
            "qe_identity_signature": by["tcb"].sign_raw(identity),
        }

    # --- on disk

    def save(self, folder: Path) -> None:
        """Write the keys to `folder` (mode 0700, files 0600) so that the root stays the same."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, identity in self._identities.items():
            key = identity.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            _write_private(folder / f"{name}.pem", key + pki.pem(identity.certificate))
        _write_private(folder / "ppid", self._ppid.hex().encode())

    @classmethod
    def load(cls, folder: Path) -> EmulatedPlatform:
        """Read what `save` wrote. Raises HostError."""
        try:
            identities = {name: _read_identity(folder / f"{name}.pem") for name in _NAMES}
            return cls(identities, bytes.fromhex((folder / "ppid").read_text()))
        except (OSError, ValueError) as error:
            raise HostError(f"the emulated platform in {folder} cannot be read") from error


class EmulatedAttester:
    """An `Attester` for one runtime on an emulated platform; collateral is renewed by `clock`."""

    kind = Kind.EMULATED
    remark = REMARK

    def __init__(self, platform: EmulatedPlatform, measurement: bytes, now: int) -> None:
        self._platform = platform
        self.measurement = measurement
        self._collateral = platform.collateral(now)

    def of(self, measured: bytes) -> EmulatedAttester:
        """Raises HostError for a guest of which nobody knows what it was measured as."""
        if not measured:
            raise HostError("it is not known what the guest of an earlier release was measured as")
        guest = copy.copy(self)
        guest.measurement = measured
        return guest

    def refresh(self, now: int) -> None:
        """Take new collateral, as a box does daily."""
        self._collateral = self._platform.collateral(now)

    def evidence(self, report_data: bytes) -> Evidence:
        check_report_data(report_data)
        quote = self._platform.quote(self.measurement, report_data)
        return dcap_evidence(Kind.EMULATED, quote, self._collateral)


def dcap_evidence(kind: Kind, quote: bytes, collateral: dict[str, bytes]) -> Evidence:
    """A quote and its collateral in the container's order."""
    parts = {"quote": quote, **collateral}
    return Evidence(kind, MappingProxyType({p.name: parts[p.name] for p in DCAP_PARTS}))


# --- the documents


def _enclave_report(
    measurement: bytes,
    signer: bytes,
    report_data: bytes,
    flags: int,
    product: int = 0,
    svn: int = 1,
) -> bytes:
    """The 384-byte REPORTBODY of Intel's SDM, volume 3D, table 40-21."""
    return b"".join(
        (
            _CPU_SVN + bytes(4 + 12 + 16),
            struct.pack("<QQ", flags, _XFRM if flags & _MODE64 else 0),
            measurement + bytes(32) + signer + bytes(32 + 64),
            struct.pack("<HHH", product, svn, 0) + bytes(42 + 16),
            report_data,
        )
    )


def _tcb_info(condition: Condition) -> dict[str, object]:
    components = [{"svn": svn} for svn in _CPU_SVN]
    level: dict[str, object] = {
        "tcb": {"sgxtcbcomponents": components, "pcesvn": condition.minimum_pce},
        "tcbDate": "2026-01-01T00:00:00Z",
        "tcbStatus": condition.status,
    }
    if condition.advisories:
        level["advisoryIDs"] = list(condition.advisories)
    return {
        "id": "SGX",
        "version": 3,
        "fmspc": FMSPC.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": condition.evaluation,
        "tcbLevels": [level],
    }


def _qe_identity(condition: Condition) -> dict[str, object]:
    return {
        "id": "QE",
        "version": 2,
        "tcbEvaluationDataNumber": condition.evaluation,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": _QE_SIGNER.hex().upper(),
        "isvprodid": 1,
        "tcbLevels": [
            {"tcb": {"isvsvn": 8}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}
        ],
    }


def _document(content: dict[str, object], issued: dt.datetime, expires: dt.datetime) -> bytes:
    form = "%Y-%m-%dT%H:%M:%SZ"
    dated = {"issueDate": issued.strftime(form), "nextUpdate": expires.strftime(form), **content}
    return json.dumps(dated, separators=(",", ":")).encode()


def _issued_by(
    certificates: Iterable[x509.Certificate], issuer: x509.Certificate
) -> list[x509.Certificate]:
    return [c for c in certificates if c.issuer == issuer.subject]


def _moment(now: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(now, dt.UTC)


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _read_identity(path: Path) -> pki.Identity:
    data = path.read_bytes()
    key = serialization.load_pem_private_key(data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic-curve key")
    return pki.Identity(key, x509.load_pem_x509_certificate(data))
