"""Whether a manifest is within the policy: yes, or every item that is not, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bento.egress.rules import EgressRules
from bento.errors import PolicyError
from bento.firewall import Grants
from bento.protocol.policy import violations

if TYPE_CHECKING:
    from bento.protocol.manifest import Manifest
    from bento.protocol.policy import Policy


def problems(manifest: Manifest, policy: Policy) -> list[str]:
    """Each item that is not within the policy, with the policy's own line.

    Raises PolicyError if an egress or tor entry means nothing at all."""
    found = violations(manifest, policy)
    reached, offered = ", ".join(policy.egress) or "nothing", ", ".join(policy.tor) or "nothing"
    asked = EgressRules.parse(manifest.egress)
    found += [
        f"egress {rule}: this box reaches {reached}"
        for rule in asked.exceeding(EgressRules.parse(policy.egress))
    ]
    found += [
        f"tor {item!r}: this box offers {offered}"
        for item in Grants.parse(manifest.tor).beyond(Grants.parse(policy.tor))
    ]
    return found


def admit(manifest: Manifest, policy: Policy) -> EgressRules:
    """The egress rules of an admissible manifest. Raises PolicyError naming each bad item."""
    if found := problems(manifest, policy):
        raise PolicyError(
            "the manifest is not within this box's policy: " + "; ".join(found),
            "ask for less, or choose another box (bento boxes)",
        )
    return EgressRules.parse(manifest.egress)
