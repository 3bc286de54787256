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


def admit(manifest: Manifest, policy: Policy) -> EgressRules:
    """The egress rules of an admissible manifest. Raises PolicyError naming each bad item."""
    found = violations(manifest, policy)
    offered = EgressRules.parse(policy.egress)
    asked = EgressRules.parse(manifest.egress)
    found += [
        f"egress {rule}: this box reaches {', '.join(policy.egress) or 'nothing'}"
        for rule in asked.exceeding(offered)
    ]
    offered_tor = ", ".join(policy.tor) or "nothing"
    found += [
        f"tor {item!r}: this box offers {offered_tor}"
        for item in Grants.parse(manifest.tor).beyond(Grants.parse(policy.tor))
    ]
    if found:
        raise PolicyError(
            "the manifest is not within this box's policy: " + "; ".join(found),
            "ask for less, or choose another box (bento boxes)",
        )
    return asked
