"""The only way from a sandbox to the network.

A sandbox's network namespace has nothing but loopback; one listener is opened in it and handed to
`EgressProxy`, which speaks SOCKS5 there and lets through what `EgressPolicy` allows: public
addresses, within this relay's exit policy, within the function's manifest; and relays' ORPorts for
a function that has the permission `relays`.

This room never logs where a function went, never trusts a name (the verdict is on the address
connected to), and has nothing to do with tor's control port (that is `firewall`).
"""

from bento.egress.addresses import IPAddress, IPNetwork
from bento.egress.limits import BOX_DESTINATION_LIMITS, DestinationLimits, EgressLimits
from bento.egress.meters import Destinations
from bento.egress.or_ports import OrPorts
from bento.egress.policy import EgressPolicy, Question, Verdict
from bento.egress.proxy import Counters, EgressProxy
from bento.egress.resolve import Resolver, SystemResolver, TableResolver
from bento.egress.routes import DirectRoute, NoRoute, RelaysRoute, Route, TorRoute
from bento.egress.rules import EgressRules, Rule

__all__ = [
    "BOX_DESTINATION_LIMITS",
    "Counters",
    "DestinationLimits",
    "Destinations",
    "DirectRoute",
    "EgressLimits",
    "EgressPolicy",
    "EgressProxy",
    "EgressRules",
    "IPAddress",
    "IPNetwork",
    "NoRoute",
    "OrPorts",
    "Question",
    "RelaysRoute",
    "Resolver",
    "Route",
    "Rule",
    "SystemResolver",
    "TableResolver",
    "TorRoute",
    "Verdict",
]
