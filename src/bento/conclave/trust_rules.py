"""The rules of a trust policy, one function each, and the words a verdict is told in.

Invariant: a rule sees facts and one policy and returns an objection or None; rules do not know
each other, and all of them run, so that a refusal names everything at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bento.conclave.claims import UNRATED, Claims, Kind, Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.conclave.trust_policy import TrustPolicy
    from bento.conclave.verdict import Session


@dataclass(frozen=True, slots=True)
class Case:
    """All a rule may look at."""

    policy: TrustPolicy
    claims: Claims
    now: int
    session: Session | None
    published: frozenset[str]


def _family(case: Case) -> str | None:
    kind = case.claims.kind
    return None if kind in case.policy.families else f"evidence of kind {kind} is not accepted"


def _level(case: Case) -> str | None:
    level, wanted = case.claims.level, case.policy.level
    return None if level >= wanted else f"level {level.name.lower()} is below {wanted.name.lower()}"


def _processor(case: Case) -> str | None:
    name = case.claims.processor
    refused = name.lower() in case.policy.refused_processors
    return f"processor {name} is refused" if refused else None


def _smt(case: Case) -> str | None:
    """Unknown counts as on: the platform could not be made to say."""
    if case.policy.smt or case.claims.smt is False:
        return None
    return "simultaneous multithreading is on, or unknown"


def _allowed_platform(case: Case) -> str | None:
    allowed = case.policy.allowed_platforms
    return "this platform is not among the named ones" if _unnamed(case, allowed) else None


def _unnamed(case: Case, allowed: frozenset[str]) -> bool:
    return bool(allowed) and case.claims.platform not in allowed


def _refused_platform(case: Case) -> str | None:
    refused = case.claims.platform in case.policy.refused_platforms
    return "this platform is refused by name" if refused else None


def _status(case: Case) -> str | None:
    status = case.claims.tcb_status
    if status == UNRATED or status in case.policy.tcb_statuses:
        return None
    return f"the platform's status is {status}"


def _advisories(case: Case) -> str | None:
    found = sorted(case.policy.refused_advisories.intersection(case.claims.advisories))
    return f"the platform is open to {', '.join(found)}" if found else None


def _versions(case: Case) -> str | None:
    claims, table = case.claims, case.policy.minimum_versions
    minimums = {**table.get(claims.kind, {}), **table.get(claims.processor.lower(), {})}
    if claims.kind is Kind.SNP and not minimums:
        return f"no minimum firmware is named for {claims.processor}, and AMD rates none"
    for name, minimum in minimums.items():
        value = claims.version(name)
        if value is None or value < minimum:
            return f"version {name} is {value if value is not None else 'absent'}, not {minimum}"
    return None


def _session(case: Case) -> str | None:
    if case.session is None and case.policy.session_only:
        return "the evidence comes from a file, not from a channel"
    return None


def _evidence_age(case: Case) -> str | None:
    limit = case.policy.max_evidence_age_s
    if case.session is None or 0 <= case.session.age <= limit:
        return None
    return f"the evidence is {case.session.age} s old"


def _collateral_age(case: Case) -> str | None:
    issued, limit = case.claims.collateral_issued, case.policy.max_collateral_age_s
    if issued is None or case.now - issued <= limit:
        return None
    return f"the vendor's statement is {(case.now - issued) // 86400} days old"


def _revocation(case: Case) -> str | None:
    if case.claims.revocation_checked or not case.policy.require_revocation:
        return None
    return "no revocation list came with the evidence"


def _runtime(case: Case) -> str | None:
    runtime, policy = case.claims.runtime, case.policy
    published = case.published if policy.published_runtimes else frozenset()
    if runtime in policy.runtimes or runtime in published:
        return None
    return f"runtime {runtime} is not a trusted one"


def _post_quantum(case: Case) -> str | None:
    if case.session is None or case.session.post_quantum or not case.policy.post_quantum:
        return None
    return "the channel's key exchange is not post-quantum"


# Line of the policy -> its rule. Order is the order of a refusal's text.
RULES: Final[tuple[tuple[str, Callable[[Case], str | None]], ...]] = (
    ("families", _family),
    ("min_level", _level),
    ("refused_processors", _processor),
    ("runtimes", _runtime),
    ("tcb_statuses", _status),
    ("refused_advisories", _advisories),
    ("minimum_versions", _versions),
    ("smt", _smt),
    ("allowed_platforms", _allowed_platform),
    ("refused_platforms", _refused_platform),
    ("session_only", _session),
    ("max_evidence_age_s", _evidence_age),
    ("max_collateral_age_s", _collateral_age),
    ("require_revocation", _revocation),
    ("post_quantum", _post_quantum),
)

# Never more than docs/conclaves.md can show.
PROMISES: Final = {
    Level.PROCESS: "keeps out a curious operator; not one who opens the machine",
    Level.VM: "keeps out a curious operator; not one who opens the machine",
    Level.BOOT: "says what booted; the operator can read the memory",
    Level.EMULATED: "EMULATED: the operator can read everything",
    Level.NONE: "no protection from the operator",
}


def summary(case: Case) -> str:
    """The verdict's facts in one line."""
    claims = case.claims
    runtime = "published" if claims.runtime in case.published else claims.runtime[:24] + "…"
    emulated = claims.level is Level.EMULATED
    parts = [
        "no hardware"
        if emulated
        else f"{claims.kind.upper()} on {claims.vendor} {claims.processor}",
        f"firmware {_firmware(claims)}",
        f"runtime {runtime}",
        PROMISES[claims.level],
    ]
    return "; ".join(parts)


def _firmware(claims: Claims) -> str:
    if claims.tcb_status != UNRATED:
        return claims.tcb_status
    return " ".join(f"{name} {value}" for name, value in claims.versions)


def facts(case: Case) -> tuple[tuple[str, str], ...]:
    """All of them, each with its name."""
    claims, session = case.claims, case.session
    return (
        ("kind", claims.kind.value),
        ("level", claims.level.name.lower()),
        ("meaning", PROMISES[claims.level]),
        ("vendor", claims.vendor),
        ("processor", claims.processor),
        ("platform", claims.platform),
        ("firmware status", claims.tcb_status),
        ("advisories", ", ".join(claims.advisories) or "none"),
        *((f"version {name}", str(value)) for name, value in claims.versions),
        ("multithreading", {True: "on", False: "off", None: "unknown"}[claims.smt]),
        ("revocation checked", "yes" if claims.revocation_checked else "no"),
        ("runtime", claims.runtime),
        ("published runtime", "yes" if claims.runtime in case.published else "no"),
        *((f"measured {name}", value) for name, value in claims.measurements),
        ("report data", claims.report_data.hex()),
        ("bound to this channel", "no: from a file" if session is None else "yes"),
    )
