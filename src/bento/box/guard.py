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

from bento.box.tor_way import TorWay
from bento.box.ways import Ways
from bento.egress.limits import BOX_DESTINATION_LIMITS, EgressLimits
from bento.egress.meters import Destinations
from bento.egress.policy import EgressPolicy
from bento.egress.proxy import EgressProxy
from bento.egress.resolve import SystemResolver
from bento.egress.routes import DirectRoute, NoRoute, Route, TorRoute
from bento.firewall import Grants, new_isolation_key, tor_username

if TYPE_CHECKING:
    from bento.box.beside import RelayFacts
    from bento.box.config import Config
    from bento.box.functions_tor import FunctionsTor
    from bento.box.terms import Terms
    from bento.egress.rules import EgressRules


class Guard:
    """Makes them. Before the relay's facts are known everything is refused."""

    def __init__(self, config: Config, functions: FunctionsTor | None = None) -> None:
        """Without the `functions`' tor there is no way through Tor and no control of it."""
        self._via = config.egress.via
        self._run = config.run
        self._functions = functions
        web = config.egress.test_web
        self._exceptions = (ipaddress.ip_network(web),) if web else ()
        self._policy = EgressPolicy()
        self._known = False
        self._resolver = SystemResolver()
        self._destinations = Destinations(BOX_DESTINATION_LIMITS)
        self._live: weakref.WeakKeyDictionary[EgressProxy, tuple[EgressRules, bool]] = (
            weakref.WeakKeyDictionary()
        )

    def update(self, facts: RelayFacts) -> None:
        """The relay's policy and addresses, for new instances and for those that run."""
        self._policy = EgressPolicy(
            exit_policy=facts.exit_policy,
            own_addresses=facts.addresses,
            exceptions=self._exceptions,
        )
        self._known = True
        for proxy, (rules, through_tor) in self._live.items():
            proxy.reload(self._for(rules, through_tor))
        if self._functions is not None:
            self._functions.exclude(facts.fingerprint)

    def ways(self, name: str, terms: Terms) -> Ways:
        """The ways of the instance called `name`."""
        key, through_tor = new_isolation_key(), self._via == "tor"
        policy = self._for(terms.egress, through_tor)
        egress = EgressProxy(policy, EgressLimits(), self._route(key), box=self._destinations)
        self._live[egress] = terms.egress, through_tor
        grants = Grants.parse(terms.manifest.tor)
        if self._functions is None or not grants.numbers:
            return Ways(egress)
        tor = TorWay(
            key,
            self._run / f"{name}.sock",
            grants,
            self._functions,
            egress,
            self._for(terms.egress, True),
        )
        self._live[tor.streams] = terms.egress, True
        return Ways(egress, tor)

    def close(self) -> None:
        self._resolver.close()

    def _for(self, rules: EgressRules, through_tor: bool) -> EgressPolicy:
        """Through Tor it is another relay's exit policy that counts."""
        policy = self._policy.with_rules(rules)
        return replace(policy, exit_policy=None) if through_tor and self._known else policy

    def _route(self, key: str) -> Route:
        if self._via == "none":
            return NoRoute()
        if self._via == "tor" and self._functions is not None:
            return TorRoute(self._functions.socks, partial(tor_username, key))
        return DirectRoute(self._resolver)
