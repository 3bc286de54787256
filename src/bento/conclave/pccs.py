"""What a box asks Intel's collateral service, or a cache of it (PCCS), and what it makes of the answers.

Source: Intel, "SGX and TDX Provisioning Certification Service API", version 4; of Intel's DCAP
repository, the PCCS, which answers alike but gives lists in hexadecimal and the root's too.
Pure. Invariant: nothing here is believed; what comes out is nine parts in form, to be verified.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import dcap_qvl
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bento.conclave.claims import Kind
from bento.conclave.evidence import DCAP_PARTS
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Mapping

INTEL: Final = "https://api.trustedservices.intel.com"
_INTELS_ROOT_LIST: Final = (
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"  # it keeps this elsewhere
)
_PATH: Final = "{base}/{tee}/certification/v4/"
_DECODER: Final = json.JSONDecoder()
_LIMITS: Final = {part.name: part.limit for part in DCAP_PARTS}


@dataclass(frozen=True)
class Answer:
    """`headers`: names in lower case."""

    body: bytes
    headers: Mapping[str, str]


def questions(base: str, kind: Kind, quote: bytes) -> dict[str, str]:
    """The URL of each piece for the platform that made `quote`. Raises AttestationError."""
    try:
        parsed = dcap_qvl.parse_quote(quote)
        platform, authority = bytes.fromhex(str(parsed.fmspc())).hex().upper(), parsed.ca()
    except ValueError as error:
        raise AttestationError("the quote does not say which platform it is of") from error
    sgx = _PATH.format(base=base, tee="sgx")
    own = _PATH.format(base=base, tee="tdx" if kind is Kind.TDX else "sgx")
    intel = urlsplit(base).hostname == urlsplit(INTEL).hostname
    return {
        "pck_crl": f"{sgx}pckcrl?ca={authority}&encoding=der",
        "root_ca_crl": _INTELS_ROOT_LIST if intel else f"{sgx}rootcacrl",
        "tcb_info": f"{own}tcb?fmspc={platform}",
        "qe_identity": f"{own}qe/identity",
    }


def assemble(answers: Mapping[str, Answer]) -> dict[str, bytes]:
    """The nine parts from the answer to each question. Raises AttestationError."""
    try:
        info, info_signature = _signed(answers["tcb_info"].body, '"tcbInfo":')
        identity, identity_signature = _signed(answers["qe_identity"].body, '"enclaveIdentity":')
        parts = {
            "pck_crl_issuer_chain": _chain(answers["pck_crl"], "sgx-pck-crl-issuer-chain"),
            "root_ca_crl": _list(answers["root_ca_crl"].body),
            "pck_crl": _list(answers["pck_crl"].body),
            "tcb_info_issuer_chain": _chain(
                answers["tcb_info"], "tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"
            ),
            "tcb_info": info,
            "tcb_info_signature": info_signature,
            "qe_identity_issuer_chain": _chain(
                answers["qe_identity"], "sgx-enclave-identity-issuer-chain"
            ),
            "qe_identity": identity,
            "qe_identity_signature": identity_signature,
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AttestationError("the collateral service answered in an unknown form") from error
    if any(len(data) > _LIMITS[name] for name, data in parts.items()):
        raise AttestationError("the collateral service's answer is longer than evidence may be")
    return parts


def _signed(body: bytes, name: str) -> tuple[bytes, bytes]:
    """The document just as it was signed, and its signature."""
    text = body.decode()
    start = text.index(name) + len(name)
    _, end = _DECODER.raw_decode(text, start)
    return text[start:end].encode(), bytes.fromhex(json.loads(text)["signature"])


def _chain(answer: Answer, *names: str) -> bytes:
    [value] = [answer.headers[name] for name in names if name in answer.headers]
    return unquote(value).strip().encode("ascii") + b"\n"


def _list(body: bytes) -> bytes:
    """A revocation list in DER, out of whichever form it came in."""
    if body.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_crl(body).public_bytes(Encoding.DER)
    if body[:1] == b"\x30" and body[1:2] >= b"\x80":  # a sequence; of hexadecimal "0" would follow
        return body
    return binascii.unhexlify(body.strip())
