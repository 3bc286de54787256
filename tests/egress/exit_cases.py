"""Generated exit policies and places, for comparing verdicts. Seeded: the same cases every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

from bento.egress import IPAddress, IPNetwork

PORTS = (1, 22, 25, 79, 80, 81, 443, 1024, 8080, 9001, 65534, 65535)

# Where the rules of real policies and the tables of this room have their edges.
EDGES: tuple[IPNetwork, ...] = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
            *("240.0.0.0/4", "8.8.8.0/24", "5.9.0.0/16", "93.184.216.34/32", "168.63.129.16/32"),
        ),
    )
) + tuple(
    map(
        IPv6Network,
        (
            *("::/8", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "100::/64", "2000::/3"),
            *("2001::/32", "2001:db8::/32", "2002::/16", "2606:4700::/32", "3fff::/20"),
            *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2a00:1450:4001::/48"),
        ),
    )
)
# Networks which tor's client keeps for itself (see real_tor.py): no exit can be asked about them.
_NOT_ASKABLE: tuple[IPNetwork, ...] = (IPv4Network("240.77.0.0/16"), IPv6Network("fe80:7777::/104"))


@dataclass(frozen=True)
class Policy:
    """Options for a relay's torrc, and places to ask about."""

    options: dict[str, str | list[str]]
    places: tuple[tuple[IPAddress, int], ...]


def generate(policies: int, places: int, seed: int) -> Iterator[Policy]:
    random = Random(seed)
    for _ in range(policies):
        rules = [_rule(random) for _ in range(random.randint(1, 8))]
        options: dict[str, str | list[str]] = {
            "ExitRelay": "1",
            "IPv6Exit": "1",
            "ExitPolicyRejectPrivate": random.choice("01"),
            "ExitPolicy": [*rules, random.choice(("accept *:*", "reject *:*"))],
        }
        asked: list[tuple[IPAddress, int]] = []
        while len(asked) < places:
            ip = _address(random)
            if int(ip) and not any(ip in net for net in _NOT_ASKABLE if net.version == ip.version):
                asked.append((ip, random.choice(PORTS)))
        yield Policy(options, tuple(asked))


def _rule(random: Random) -> str:
    verb = random.choice(("accept", "reject"))
    low = random.choice(PORTS)
    ports = random.choice(("*", str(low), f"{low}-{random.choice([p for p in PORTS if p >= low])}"))
    if random.random() < 0.1:
        return f"{verb} private:{ports}"
    network = _network(random)
    if network.version == 6:
        return f"{verb}6 [{network.network_address}]/{network.prefixlen}:{ports}"
    return f"{verb} {network}:{ports}"


def _network(random: Random) -> IPNetwork:
    edge = random.choice(EDGES)
    if random.random() < 0.5:
        return edge
    kind = IPv4Network if isinstance(edge, IPv4Network) else IPv6Network
    shift = edge.max_prefixlen - (bits := random.randint(1, edge.max_prefixlen))
    return kind((int(_inside(random, edge)) >> shift << shift, bits))


def _address(random: Random) -> IPAddress:
    edge = random.choice(EDGES)
    inside = _inside(random, edge)
    if isinstance(inside, IPv4Address) and random.random() < 0.25:
        return _wrapped(random, inside)
    return inside


def _inside(random: Random, network: IPNetwork) -> IPAddress:
    """An address of the network, with preference for its edges and the neighbours of those."""
    first, last = int(network.network_address), int(network.broadcast_address)
    value = random.choice(
        (first - 1, first, first + 1, last, last + 1, random.randint(first, last))
    )
    kind = IPv4Address if isinstance(network, IPv4Network) else IPv6Address
    return kind(value % (1 << network.max_prefixlen))


def _wrapped(random: Random, ip: IPv4Address) -> IPv6Address:
    value = int(ip)
    return IPv6Address(
        random.choice(
            (
                0xFFFF << 32 | value,
                value,
                0x64FF9B << 96 | value,
                0x2002 << 112 | value << 80,
                0x20010000 << 96 | 0x08080808 << 64 | (value ^ 0xFFFFFFFF),
                0x20010000 << 96 | value << 64 | (0x08080808 ^ 0xFFFFFFFF),
            )
        )
    )
