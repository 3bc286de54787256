"""An egress proxy for each instance, under the one policy of the box.

What all instances together do to one destination is counted in one ledger, so that a box is no tool
against anybody, however many instances somebody has.
"""

from __future__ import annotations

import ipaddress
import weakref
from typing import TYPE_CHECKING

from bento.egress.limits import BOX_DESTINATION_LIMITS, EgressLimits
from bento.egress.meters import Destinations
from bento.egress.policy import EgressPolicy
from bento.egress.proxy import EgressProxy
from bento.egress.resolve import SystemResolver
from bento.egress.routes import DirectRoute, NoRoute, Route, TorRoute

if TYPE_CHECKING:
    from bento.box.beside import RelayFacts
    from bento.box.config import Config
    from bento.box.terms import Terms
    from bento.egress.rules import EgressRules


class Guard:
    """Makes the proxies. Before the relay's facts are known everything is refused."""

    def __init__(self, config: Config) -> None:
        self._via = config.egress.via
        self._tor_socks = config.tor.functions_socks
        web = config.egress.test_web
        self._exceptions = (ipaddress.ip_network(web),) if web else ()
        self._policy = EgressPolicy()
        self._resolver = SystemResolver()
        self._destinations = Destinations(BOX_DESTINATION_LIMITS)
        self._live: weakref.WeakKeyDictionary[EgressProxy, EgressRules] = (
            weakref.WeakKeyDictionary()
        )

    def update(self, facts: RelayFacts) -> None:
        """The relay's policy and addresses, for new instances and for those that run."""
        self._policy = EgressPolicy(
            exit_policy=None if self._via == "tor" else facts.exit_policy,
            own_addresses=facts.addresses,
            exceptions=self._exceptions,
        )
        for proxy, rules in self._live.items():
            proxy.reload(self._policy.with_rules(rules))

    def proxy(self, name: str, terms: Terms) -> EgressProxy:
        """The proxy of the instance called `name`."""
        policy = self._policy.with_rules(terms.egress)
        proxy = EgressProxy(policy, EgressLimits(), self._route(name), box=self._destinations)
        self._live[proxy] = terms.egress
        return proxy

    def close(self) -> None:
        self._resolver.close()

    def _route(self, name: str) -> Route:
        if self._via == "none":
            return NoRoute()
        if self._via == "tor":
            return TorRoute(self._tor_socks, name)
        return DirectRoute(self._resolver)
