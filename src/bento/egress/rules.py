"""The `egress` list of a manifest or a policy: what destinations it names.

    entry = host ":" port
    host  = "*" | name | "*." name | IPv4 ["/" bits] | "[" IPv6 "]" ["/" bits]
    port  = "*" | number | number "-" number

`*.example.com` means the names below example.com, not example.com itself. A name covers only
connections asked for by that name; a network covers literal addresses and whatever a name
resolves to; `*` covers everything. What no entry covers is not allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
)

from bento.egress.addresses import IPAddress, IPNetwork, canonical
from bento.egress.limits import MAX_RULE_LENGTH, MAX_RULES
from bento.egress.names import parse_name
from bento.errors import PolicyError

_HINT = 'write "HOST:PORT", for example "*:443", "*.example.com:80-90" or "[2001:db9::]/32:*"'


@dataclass(frozen=True, slots=True)
class AnyHost:
    """`*`: every name and every address."""

    def matches(self, name: str | None, ip: IPAddress | None) -> bool:
        return True

    def __str__(self) -> str:
        return "*"


@dataclass(frozen=True, slots=True)
class NamedHost:
    """One name, or with `below` every name under it."""

    name: str
    below: bool = False

    def matches(self, name: str | None, ip: IPAddress | None) -> bool:
        if name is None:
            return False
        return name.endswith("." + self.name) if self.below else name == self.name

    def __str__(self) -> str:
        return f"*.{self.name}" if self.below else self.name


@dataclass(frozen=True, slots=True)
class NetworkHost:
    """One address or a whole network."""

    network: IPNetwork

    def matches(self, name: str | None, ip: IPAddress | None) -> bool:
        return ip is not None and ip.version == self.network.version and ip in self.network

    def __str__(self) -> str:
        address, bits = self.network.network_address, self.network.prefixlen
        text = f"[{address}]" if self.network.version == 6 else str(address)
        return text if bits == self.network.max_prefixlen else f"{text}/{bits}"


Host = AnyHost | NamedHost | NetworkHost


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry: a kind of host and the ports `low` to `high`, both included."""

    host: Host
    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Raises PolicyError for anything the grammar does not produce."""
        if len(text) > MAX_RULE_LENGTH:
            raise PolicyError(f"an egress entry is longer than {MAX_RULE_LENGTH} characters", _HINT)
        host, colon, port = text.rpartition(":")
        if not colon:
            raise PolicyError(f"the egress entry {text!r} has no port", _HINT)
        low, high = _parse_ports(port, text)
        return cls(_parse_host(host, text), low, high)

    def matches(self, name: str | None, ip: IPAddress | None, port: int) -> bool:
        return self.low <= port <= self.high and self.host.matches(name, ip)

    def __str__(self) -> str:
        if (self.low, self.high) == (1, 65535):
            return f"{self.host}:*"
        ports = str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
        return f"{self.host}:{ports}"


@dataclass(frozen=True, slots=True)
class EgressRules:
    """A parsed `egress` list. Empty means no network at all."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> EgressRules:
        """Raises PolicyError, for the first entry that is wrong or for too many of them."""
        texts = list(entries)
        if len(texts) > MAX_RULES:
            raise PolicyError(f"an egress list has more than {MAX_RULES} entries")
        return cls(tuple(Rule.parse(text) for text in texts))

    def allow(self, name: str | None, ip: IPAddress | None, port: int) -> bool:
        """Whether any entry covers a connection asked for by `name` (None: by address) to `ip`
        (None: somebody else resolves the name)."""
        address = None if ip is None else canonical(ip)
        return any(rule.matches(name, address, port) for rule in self.rules)

    def may_allow(self, name: str, port: int) -> bool:
        """Whether resolving `name` could lead to a connection that some entry covers."""
        return any(
            rule.low <= port <= rule.high
            and (isinstance(rule.host, NetworkHost) or rule.host.matches(name, None))
            for rule in self.rules
        )

    def exceeding(self, policy: EgressRules) -> tuple[Rule, ...]:
        """The entries that name a destination which `policy` does not, in their order."""
        return tuple(rule for rule in self.rules if not _covered(rule, policy.rules))

    def within(self, policy: EgressRules) -> bool:
        """Whether every destination of this list is also in `policy`."""
        return not self.exceeding(policy)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules)) or "nothing"


def _parse_ports(text: str, entry: str) -> tuple[int, int]:
    if text == "*":
        return 1, 65535
    first, dash, last = text.partition("-")
    low = _parse_port(first, entry)
    high = _parse_port(last, entry) if dash else low
    if low > high:
        raise PolicyError(f"the ports of the egress entry {entry!r} run backwards", _HINT)
    return low, high


def _parse_port(text: str, entry: str) -> int:
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 5:
        port = int(text)
        if port <= 65535:
            return port
    raise PolicyError(f"the egress entry {entry!r} has no port of 1 to 65535", _HINT)


def _parse_host(text: str, entry: str) -> Host:
    if text == "*":
        return AnyHost()
    if text.startswith("["):
        return NetworkHost(_parse_ipv6(text, entry))
    if text.replace(".", "").replace("/", "").isdigit():
        return NetworkHost(_parse_network(IPv4Network, text, entry))
    below = text.startswith("*.")
    name = parse_name(text[2:] if below else text)
    if name is None:
        raise PolicyError(f"the egress entry {entry!r} has no valid host", _HINT)
    return NamedHost(name, below)


def _parse_ipv6(text: str, entry: str) -> IPNetwork:
    address, bracket, bits = text[1:].partition("]")
    if not bracket or "%" in address or "/" in address or (bits and bits[0] != "/"):
        raise PolicyError(f"the egress entry {entry!r} has no valid host", _HINT)
    network = _parse_network(IPv6Network, address + bits, entry)
    if isinstance(canonical(network.network_address), IPv4Address):
        raise PolicyError(
            f"the egress entry {entry!r} is an IPv4 address in IPv6 clothes",
            "write the IPv4 address",
        )
    return network


def _parse_network(
    kind: type[IPv4Network] | type[IPv6Network], text: str, entry: str
) -> IPv4Network | IPv6Network:
    address, slash, bits = text.partition("/")
    if slash and not (bits.isascii() and bits.isdigit() and str(int(bits[:4])) == bits):
        raise PolicyError(f"the egress entry {entry!r} has no valid network", _HINT)
    try:
        network = kind(text, strict=False)
    except ValueError:
        raise PolicyError(f"the egress entry {entry!r} has no valid address", _HINT) from None
    kinds: tuple[type[IPv4Address], type[IPv6Address]] = (IPv4Address, IPv6Address)
    if network.network_address != kinds[network.version == 6](address):
        raise PolicyError(
            f"the egress entry {entry!r} has an address inside its network",
            f"write {NetworkHost(network)}",
        )
    return network


def _covered(rule: Rule, policy: Sequence[Rule]) -> bool:
    """Whether the union of `policy` holds all of `rule`, port by port."""
    bounds = {rule.low, rule.high + 1}
    for other in policy:
        bounds.update(p for p in (other.low, other.high + 1) if rule.low < p <= rule.high)
    # Between two neighbouring bounds the same entries apply to every port.
    return all(
        _host_covered(rule.host, [o.host for o in policy if o.low <= port <= o.high])
        for port in sorted(bounds)[:-1]
    )


def _host_covered(host: Host, others: Sequence[Host]) -> bool:
    if any(isinstance(other, AnyHost) for other in others):
        return True
    if isinstance(host, NamedHost):
        return any(isinstance(other, NamedHost) and _name_covered(host, other) for other in others)
    if isinstance(host, NetworkHost):
        return _network_covered(host.network, others)
    return False


def _name_covered(host: NamedHost, other: NamedHost) -> bool:
    if host == other:
        return True
    return other.below and (host.name.endswith("." + other.name))


def _network_covered(network: IPNetwork, others: Sequence[Host]) -> bool:
    """`collapse_addresses` joins neighbours, so one joined network must hold all of ours."""
    if isinstance(network, IPv4Network):
        four = [
            other.network
            for other in others
            if isinstance(other, NetworkHost) and isinstance(other.network, IPv4Network)
        ]
        return any(network.subnet_of(joined) for joined in collapse_addresses(four))
    six = [
        other.network
        for other in others
        if isinstance(other, NetworkHost) and isinstance(other.network, IPv6Network)
    ]
    return any(network.subnet_of(joined) for joined in collapse_addresses(six))
