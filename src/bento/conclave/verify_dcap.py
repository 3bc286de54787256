"""Intel DCAP evidence: SGX and TDX quotes, and the emulator that speaks the same format.

dcap-qvl checks signatures, chains, CRLs, quoting enclave, TCB levels, debug and validity, offline.
It is never asked for its plain `verify`, which accepts an out-of-date platform: a policy that names
each status is passed, and what the library read is returned as facts for `trust.py` to judge.
Around it stands what the library does not look at: exact framing, one spelling of each
chain, the issuer chain of the PCK revocation list, and which root goes with which kind.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import dcap_qvl
from cryptography import x509
from cryptography.x509.oid import NameOID

from bento.conclave import chains, dcap_quote
from bento.conclave.claims import Claims, Kind
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bento.conclave.evidence import Evidence

EMULATED_NAME: Final = "EMULATED - NOT HARDWARE"  # organisation in every emulated certificate

# Every status but Revoked is a fact to report; the trust policy says which are good enough.
_STATUSES: Final = (
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
# dcap-qvl refuses OutOfDate platforms beyond a grace period; we report them instead.
_NO_GRACE_LIMIT: Final = 100 * 365 * 86400  # seconds
_SGX_TYPES: Final = [0, 1, 2]  # standard, scalable, scalable with integrity
_TRI_STATE: Final = {"True": True, "False": False}
_GUARDED_CRLS: Final = ("root_ca_crl", "pck_crl")

# Report fields that say what runs, in the order they are hashed into the runtime's name.
_TD_MEASURED: Final = (
    "mr_td",
    "rt_mr0",
    "rt_mr1",
    "rt_mr2",
    "rt_mr3",
    "mr_config_id",
    "mr_owner",
    "mr_owner_config",
    "td_attributes",
)


def verify_dcap(evidence: Evidence, now: int, root: x509.Certificate | None) -> Claims:
    """Claims of SGX, TDX or emulated evidence at `now` (seconds since 1970).

    `root` is Intel's for hardware, the named emulator's for `Kind.EMULATED`.
    Raises AttestationError.
    """
    root = _root_for(evidence.kind, root)
    quote = dcap_quote.parse(evidence.parts["quote"])
    if quote.tee != (dcap_quote.TDX_TEE if evidence.kind is Kind.TDX else dcap_quote.SGX_TEE):
        raise AttestationError(f"the quote is not of kind {evidence.kind}")
    _check_spelling(evidence, quote, root)
    claims = _judge(evidence, now, root)
    issued, expires = window(evidence.parts)
    return _claims(evidence.kind, claims, issued, expires)


def _root_for(kind: Kind, root: x509.Certificate | None) -> x509.Certificate:
    if root is None:
        raise AttestationError(
            "emulated evidence proves nothing about hardware",
            "on a private network --allow-emulated accepts it; else a trust policy names its root",
        )
    names = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    emulated = any(name.value == EMULATED_NAME for name in names)
    if emulated != (kind is Kind.EMULATED):
        raise AttestationError(f"that root does not sign evidence of kind {kind}")
    return root


def _check_spelling(evidence: Evidence, quote: dcap_quote.Quote, root: x509.Certificate) -> None:
    """Each chain is written in one way and ends in the pinned root."""
    parts = evidence.parts
    pck = chains.read_pem(quote.chain, "PCK chain", 3)
    crl_chain = chains.read_pem(
        parts["pck_crl_issuer_chain"], "chain of the PCK revocation list", 2
    )
    tcb = chains.read_pem(parts["tcb_info_issuer_chain"], "chain of the TCB info", 2)
    qe = chains.read_pem(parts["qe_identity_issuer_chain"], "chain of the QE identity", 2)
    if any(chain[-1] != root for chain in (pck, crl_chain, tcb, qe)):
        raise AttestationError("a certificate chain does not end in the trusted root")
    if crl_chain[0] != pck[1]:
        raise AttestationError("the PCK revocation list is of another authority")


def _judge(evidence: Evidence, now: int, root: x509.Certificate) -> dict[str, Any]:
    parts = evidence.parts
    try:
        collateral = dcap_qvl.QuoteCollateralV3(
            pck_crl_issuer_chain=parts["pck_crl_issuer_chain"].decode("ascii"),
            root_ca_crl=parts["root_ca_crl"],
            pck_crl=parts["pck_crl"],
            tcb_info_issuer_chain=parts["tcb_info_issuer_chain"].decode("ascii"),
            tcb_info=parts["tcb_info"].decode(),
            tcb_info_signature=parts["tcb_info_signature"],
            qe_identity_issuer_chain=parts["qe_identity_issuer_chain"].decode("ascii"),
            qe_identity=parts["qe_identity"].decode(),
            qe_identity_signature=parts["qe_identity_signature"],
        )
        verifier = dcap_qvl.QuoteVerifier(chains.der(root))
        report = verifier.verify_with_policy(parts["quote"], collateral, now, _facts_policy(now))
        claims: dict[str, Any] = json.loads(report.to_json())
    except (ValueError, OverflowError) as error:
        reason = " / ".join(str(error).removeprefix("Verification failed: ").split("\n"))[:200]
        raise AttestationError(f"the {evidence.kind} quote is not valid: {reason}") from error
    return claims


def _facts_policy(now: int) -> dcap_qvl.QuotePolicy:
    """Refuse what is never good (Revoked, debug, expired); let the trust policy judge the rest."""
    policy = dcap_qvl.QuotePolicy.strict(now)
    for status in _STATUSES:
        policy = policy.allow_status(status)
    policy = policy.platform_grace_period(_NO_GRACE_LIMIT).qe_grace_period(_NO_GRACE_LIMIT)
    policy = policy.allow_smt(True).allow_dynamic_platform(True).allow_cached_keys(True)
    return policy.accepted_sgx_types(_SGX_TYPES)


def window(parts: Mapping[str, bytes]) -> tuple[int, int]:
    """When the oldest piece of collateral was issued, and when the first of them ends.

    The root's revocation list is renewed yearly; it counts for the end, not for the age.
    Raises AttestationError.
    """
    issued, expires = [], []
    for name in ("tcb_info", "qe_identity"):
        try:
            document = json.loads(parts[name])
            issued.append(_seconds(document["issueDate"]))
            expires.append(_seconds(document["nextUpdate"]))
        except (ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
            raise AttestationError(f"the {name} has no dates") from error
    for name in _GUARDED_CRLS:
        begins, ends = list_window(parts[name], name)
        expires.append(ends)
        if name != "root_ca_crl":
            issued.append(begins)
    return min(issued), min(expires)


def list_window(crl: bytes, name: str) -> tuple[int, int]:
    """When a revocation list was issued, and when it ends. Raises AttestationError."""
    read = chains.read_crl(crl, name)
    if read.next_update_utc is None:
        raise AttestationError(f"the {name} has no end of validity")
    return int(read.last_update_utc.timestamp()), int(read.next_update_utc.timestamp())


def _seconds(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp())


def _claims(kind: Kind, facts: dict[str, Any], issued: int, expires: int) -> Claims:
    pck = facts["platform"]["pck"]
    runtime, measured, report = _measured(facts["report"])
    evaluations = facts["tcb"]["eval_data_number"], facts["qe"]["tcb_eval_data_number"]
    versions = {
        "tcb_evaluation": min(evaluations),
        "pce": pck["pce_svn"],
        "quoting_enclave": facts["qe"]["report"]["isv_svn"],
    }
    if "isv_svn" in report:
        versions["isv"] = report["isv_svn"]
    hardware = kind is not Kind.EMULATED
    return Claims(
        kind=kind,
        vendor="Intel" if hardware else "none (emulated)",
        processor=f"FMSPC {bytes(pck['fmspc']).hex().upper()}" if hardware else "none (emulated)",
        platform=bytes(pck["ppid"]).hex(),
        runtime=f"{kind}:{runtime}",
        measurements=tuple(measured.items()),
        report_data=bytes.fromhex(report["report_data"]),
        tcb_status=facts["tcb"]["status"],
        advisories=tuple(sorted(facts["tcb"]["advisory_ids"])),
        versions=tuple(versions.items()),
        smt=_TRI_STATE.get(pck["smt_enabled"]),
        revocation_checked=True,
        collateral_issued=issued,
        collateral_expires=expires,
    )


def _measured(reports: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The runtime's digest, what is shown of it, and the report it is from.

    An enclave's measurement covers all that is loaded into it. A TD's is spread over registers and
    what its host configured, so its digest is over all of them.
    """
    form, report = next(iter(reports.items()))
    if form == "SgxEnclave":
        shown = {name: report[name] for name in ("mr_enclave", "mr_signer", "attributes")}
        return report["mr_enclave"], shown, report
    report = report.get("base", report)
    shown = {name: report[name] for name in _TD_MEASURED}
    whole = b"".join(bytes.fromhex(value) for value in shown.values())
    return hashlib.sha384(whole).hexdigest(), shown, report
