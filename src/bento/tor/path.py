"""Which relays a circuit goes through, with the last one given. Pure: randomness is passed in.

Invariant: no relay twice, no two relays that belong together (one family, or one /16 where that
rule is on), a first hop that is tor's own guard, a middle hop by tor's weights. A path of another
shape would show that this is no ordinary user of Tor, or would give two hops to one owner.

Sources: path-spec 2.2 (families, subnets), 5 (guards); dir-spec 3.8.3 (weights).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Collection, Iterable, Sequence

from bento.errors import TorError
from bento.tor.consensus import Network, RouterStatus

_SUBNET_BITS = 16
# Sessions are long: prefer what tor prefers for long streams, and take others if there are none.
_PREFERRED = frozenset({"Fast", "Stable"})
_REQUIRED = frozenset({"Running", "Valid"})
# Of `GETINFO entry-guards`: those that work, then those not tried yet.
_GUARD_STATES = ("up", "never-connected")


class PathChooser:
    """Chooses guards and middles in one `network`."""

    def __init__(
        self, network: Network, *, distinct_subnets: bool, rng: random.Random | None = None
    ) -> None:
        self._network = network
        self._distinct_subnets = distinct_subnets
        self._rng = rng or random.SystemRandom()

    def knows(self, fingerprint: str) -> bool:
        return fingerprint.upper() in self._network.relays

    def relay(self, fingerprint: str) -> RouterStatus:
        """One relay by its fingerprint. Raises TorError if it is not in the consensus or down."""
        relay = self._network.relays.get(fingerprint.upper())
        if relay is None or "Running" not in relay.flags:
            raise TorError(
                f"the relay {fingerprint[:40]} is not running",
                "choose another box, or wait until tor has heard of this one",
            )
        return relay

    def guards(self, names: Iterable[str], last: RouterStatus) -> list[RouterStatus]:
        """Those of tor's guards that may begin a path to `last`, best first."""
        relays = [self._network.relays[name] for name in names if name in self._network.relays]
        return [relay for relay in relays if self._apart(relay, [last])]

    def middle(
        self,
        ends: Sequence[RouterStatus],
        *,
        banned: Collection[str] = (),
        avoided: Collection[str] = (),
    ) -> RouterStatus:
        """A relay between `ends`: never a banned one, an avoided one only if no other is left.

        Raises TorError if there is none."""
        usable = [
            relay
            for relay in self._network.relays.values()
            if relay.flags >= _REQUIRED
            and relay.fingerprint not in banned
            and self._apart(relay, ends)
        ]
        fresh = [relay for relay in usable if relay.fingerprint not in avoided] or usable
        pool = [relay for relay in fresh if relay.flags >= _PREFERRED] or fresh
        if not pool:
            raise TorError(
                "there is no relay left for the middle of a circuit",
                "wait until tor knows more relays",
            )
        weights = [self._network.weights.in_the_middle(relay) for relay in pool]
        return self._rng.choices(pool, weights if any(weights) else None)[0]

    def _apart(self, relay: RouterStatus, others: Iterable[RouterStatus]) -> bool:
        return not any(
            relay.fingerprint == other.fingerprint
            or (self._distinct_subnets and _same_subnet(relay, other))
            for other in others
        )


def parse_guards(text: str) -> list[str]:
    """`GETINFO entry-guards` -> fingerprints of those that can be used, best first."""
    states: dict[str, list[str]] = {state: [] for state in _GUARD_STATES}
    for line in text.split("\n"):
        name, _, rest = line.partition(" ")
        state = rest.split(" ")[0]
        if name.startswith("$") and state in states:
            states[state].append(name[1:41].upper())
    return [fingerprint for state in _GUARD_STATES for fingerprint in states[state]]


def _same_subnet(one: RouterStatus, other: RouterStatus) -> bool:
    shift = 32 - _SUBNET_BITS
    first, second = (int(ipaddress.IPv4Address(relay.address)) for relay in (one, other))
    return first >> shift == second >> shift
