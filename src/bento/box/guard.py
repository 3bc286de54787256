"""The ways out of each instance, under the one policy of the box.

What all instances together do to one destination is counted in one ledger, so that a box is no tool
against anybody, however many instances somebody has.
"""

from __future__ import annotations

import ipaddress
import weakref
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bento.box.boxes_way import BoxesWay
from bento.box.children import Children
from bento.box.neighbours import PastBoxes
from bento.box.tor_way import TorWay
from bento.box.ways import Ways
from bento.egress.limits import BOX_DESTINATION_LIMITS, EgressLimits
from bento.egress.meters import Destinations
from bento.egress.or_ports import OrPorts
from bento.egress.policy import EgressPolicy
from bento.egress.proxy import EgressProxy
from bento.egress.resolve import SystemResolver
from bento.egress.routes import DirectRoute, NoRoute, RelaysRoute, Route, TorRoute
from bento.firewall import Grants, new_isolation_key, tor_username

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bento.box.beside import RelayFacts
    from bento.box.boxes_way import Keep
    from bento.box.children import Kept
    from bento.box.config import Config
    from bento.box.functions_tor import FunctionsTor
    from bento.box.neighbours import Neighbours
    from bento.box.terms import Terms
    from bento.egress.rules import EgressRules

_NOTHING = NoRoute()
_RELAYS_ONLY = NoRoute(
    "this box lets functions connect to the ORPorts in the consensus only, and this is none of them"
)


class Guard:
    """Makes them. Before the relay's facts are known everything is refused."""

    def __init__(
        self,
        config: Config,
        functions: FunctionsTor | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        """Without the `functions`' tor there is no way through Tor and no control of it; without
        `neighbours` none to other boxes."""
        self._neighbours = neighbours
        self._via = config.egress.via
        self._run = config.run
        self._functions = functions
        web = config.egress.test_web
        self._exceptions = (ipaddress.ip_network(web),) if web else ()
        relays = config.egress.test_relays
        self._relay_exceptions = (ipaddress.ip_network(relays),) if relays else ()
        self._policy = EgressPolicy()
        self._or_ports = OrPorts()
        self._known = False
        self._resolver = SystemResolver()
        self._destinations = Destinations(BOX_DESTINATION_LIMITS)
        self._live: weakref.WeakKeyDictionary[EgressProxy, Callable[[], EgressPolicy]] = (
            weakref.WeakKeyDictionary()
        )

    def update(self, facts: RelayFacts) -> None:
        """The relay's policy and addresses, for new instances and for those that run."""
        self._policy = EgressPolicy(
            exit_policy=facts.exit_policy,
            own_addresses=facts.addresses,
            exceptions=self._exceptions,
            or_ports=self._or_ports,
            relay_exceptions=self._relay_exceptions,
        )
        self._known = True
        self._judge_again()
        if self._functions is not None:
            self._functions.exclude(facts.fingerprint)

    def listed(self, or_ports: OrPorts) -> None:
        """Where the relays of the newest consensus take links: from now on these, and no others."""
        self._or_ports = or_ports
        self._policy = replace(self._policy, or_ports=or_ports)
        self._judge_again()

    def ways(
        self, name: str, terms: Terms, expires: int, keep: Keep, earlier: Sequence[Kept]
    ) -> Ways:
        """The ways of the instance called `name`, which ends at `expires` (seconds since 1970). `keep`
        writes down what it has on other boxes, `earlier` is what it had when that was last done."""
        key = new_isolation_key()
        own = partial(self._for, terms.egress, self._via == "tor", terms.manifest.relays)
        through_tor = partial(self._for, terms.egress, True)
        route = self._route(key, terms.manifest.relays)
        egress = EgressProxy(own(), EgressLimits(), route, box=self._destinations)
        self._live[egress] = own
        boxes = None
        if self._neighbours is not None and (most := terms.manifest.boxes):
            children = Children(most, expires, earlier=earlier)
            path = self._run / f"{name}.sock"
            boxes = BoxesWay(key, path, self._neighbours, children, egress, keep)
        grants = Grants.parse(terms.manifest.tor)
        if self._functions is None or not grants.numbers:
            return Ways(egress, None, boxes)
        tor = TorWay(
            key,
            self._run / f"{name}.sock",
            grants,
            self._functions,
            egress,
            through_tor(),
            self._neighbours,
        )
        self._live[tor.streams] = through_tor
        return Ways(egress, tor, boxes)

    def close(self) -> None:
        self._resolver.close()

    def _judge_again(self) -> None:
        for proxy, policy in self._live.items():
            proxy.reload(policy())

    def _for(self, rules: EgressRules, through_tor: bool, relays: bool = False) -> EgressPolicy:
        """Through Tor it is another relay's exit policy that counts."""
        policy = self._policy.with_rules(rules, relays=relays)
        return replace(policy, exit_policy=None) if through_tor and self._known else policy

    def _route(self, key: str, relays: bool) -> Route:
        direct = DirectRoute(self._resolver)
        if not relays:
            return self._usual_route(key, direct)
        return RelaysRoute(direct, self._usual_route(key, direct, _RELAYS_ONLY))

    def _usual_route(self, key: str, direct: DirectRoute, none: NoRoute = _NOTHING) -> Route:
        if self._via == "none":
            return none
        if self._via == "tor" and self._functions is not None:
            route = TorRoute(self._functions.socks, partial(tor_username, key))
            return PastBoxes(route, self._neighbours) if self._neighbours else route
        return direct
