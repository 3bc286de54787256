"""All hostile functions, by group."""

from __future__ import annotations

from tests.hostile import escape, exhaustion, network, snooping
from tests.hostile.attack import Attack

GROUPS: dict[str, tuple[Attack, ...]] = {
    "escape": escape.ATTACKS,
    "exhaustion": exhaustion.ATTACKS,
    "snooping": snooping.ATTACKS,
    "network": network.ATTACKS,
}
ATTACKS = {attack.name: attack for attacks in GROUPS.values() for attack in attacks}
