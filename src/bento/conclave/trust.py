"""The client's judgement: claims and a policy in, a verdict out. Pure; default deny.

Invariant: a verdict accepts only if every rule of `trust_rules.RULES` had nothing to say, and each
refusal names the line of the policy it stands on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bento.conclave import trust_rules
from bento.conclave.trust_policy import DAY, TrustPolicy, load_policy, parse_policy
from bento.conclave.verdict import Refusal, Session, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bento.conclave.claims import Claims

__all__ = [
    "DAY",
    "Refusal",
    "Session",
    "TrustPolicy",
    "Verdict",
    "evaluate",
    "evaluate_plain",
    "evaluate_spread",
    "load_policy",
    "parse_policy",
]


def evaluate(
    policy: TrustPolicy,
    claims: Claims,
    *,
    now: int,
    session: Session | None,
    published: frozenset[str] = frozenset(),
) -> Verdict:
    """Judge `claims` at `now` (seconds since 1970). `session` is None for evidence from a file;
    `published` are the runtimes this release publishes.
    """
    case = trust_rules.Case(policy, claims, now, session, published)
    refusals = tuple(
        Refusal(line, reason)
        for line, rule in trust_rules.RULES
        if (reason := rule(case)) is not None
    )
    return Verdict(trust_rules.summary(case), trust_rules.facts(case), refusals)


def evaluate_plain(policy: TrustPolicy) -> Verdict:
    """The verdict on a box without any conclave."""
    refusals = (
        ()
        if policy.plain_container
        else (Refusal("plain_container", "the function would run where the operator can read it"),)
    )
    text = "no conclave; the operator can read the function, its files and its traffic"
    return Verdict(text, (("level", "none"),), refusals)


def evaluate_spread(policy: TrustPolicy, vendors: Sequence[str], need: int) -> Verdict:
    """Whether `need` of these boxes' shares stay out of any one vendor's reach.

    Each share of a secret lies on hardware of one of `vendors`; `need` of them bring it back. If one vendor's
    hardware is broken, all shares on it are lost at once, so no vendor may hold `need`.
    """
    held: dict[str, int] = {}
    for vendor in vendors:
        held[vendor] = held.get(vendor, 0) + 1
    refusals = tuple(
        Refusal(
            "distinct_vendors",
            f"{count} shards would lie on hardware of {vendor!r}, and any {need} bring the file back",
        )
        for vendor, count in held.items()
        if policy.distinct_vendors and count >= need
    )
    summary = ", ".join(f"{vendor}: {count}" for vendor, count in held.items())
    facts = tuple((vendor, str(count)) for vendor, count in held.items())
    return Verdict(f"shares by vendor: {summary}", facts, refusals)
