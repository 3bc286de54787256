"""An egress proxy for each instance, under the one policy of the box."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from bento.egress.limits import EgressLimits
from bento.egress.policy import EgressPolicy
from bento.egress.proxy import EgressProxy
from bento.egress.resolve import SystemResolver
from bento.egress.routes import DirectRoute, NoRoute, Route, TorRoute

if TYPE_CHECKING:
    from bento.box.beside import RelayFacts
    from bento.box.config import Config
    from bento.box.terms import Terms


class Guard:
    """Makes the proxies. Before the relay's facts are known everything is refused."""

    def __init__(self, config: Config) -> None:
        self._via = config.egress.via
        self._tor_socks = config.tor.functions_socks
        web = config.egress.test_web
        self._exceptions = (ipaddress.ip_network(web),) if web else ()
        self._policy = EgressPolicy()
        self._resolver = SystemResolver()

    def update(self, facts: RelayFacts) -> None:
        """The relay's policy and addresses; running instances keep the ones they began with."""
        self._policy = EgressPolicy(
            exit_policy=None if self._via == "tor" else facts.exit_policy,
            own_addresses=facts.addresses,
            exceptions=self._exceptions,
        )

    def proxy(self, name: str, terms: Terms) -> EgressProxy:
        """The proxy of the instance called `name`."""
        policy = self._policy.with_rules(terms.egress)
        return EgressProxy(policy, EgressLimits(), self._route(name, terms))

    def close(self) -> None:
        self._resolver.close()

    def _route(self, name: str, terms: Terms) -> Route:
        if self._via == "none" or not terms.manifest.egress:
            return NoRoute()
        if self._via == "tor":
            return TorRoute(self._tor_socks, name)
        return DirectRoute(self._resolver)
