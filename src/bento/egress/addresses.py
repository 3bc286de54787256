"""Addresses that no policy opens: what is not the public Internet, and what leads back to it.

IPv6 is judged from the other side: only 2000::/3 has been given out, so all else is refused
without being listed, and the list gives the reasons. An IPv6 address that carries an IPv4 address
(mapped, NAT64, 6to4, Teredo, ISATAP) can end at that one, so both have to pass.

Sources: IANA special-purpose address registries (RFC 6890 and its updates); for the metadata
services the clouds' own documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")

# Order matters where a smaller network has a better reason than the larger one around it.
_REFUSED: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("169.254.169.254/32", "a cloud metadata service"),
        ("169.254.170.2/32", "a cloud metadata service"),
        ("100.100.100.200/32", "a cloud metadata service"),
        ("168.63.129.16/32", "a cloud metadata service"),
        ("192.0.0.192/32", "a cloud metadata service"),
        ("fd00:ec2::254/128", "a cloud metadata service"),
        ("fd20:ce::254/128", "a cloud metadata service"),
        ("0.0.0.0/32", "the unspecified address"),
        ("0.0.0.0/8", "an address of this network"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a carrier's internal address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "reserved for documentation and for boxes"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("::/96", "an IPv4-compatible address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "a discard address"),
        ("2001:2::/48", "reserved for benchmarks"),
        ("2001:db8::/32", "reserved for documentation"),
        ("2002::/24", "a 6to4 address of this network"),
        ("3fff::/20", "reserved for documentation"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
_TEREDO = IPv6Network("2001::/32")
_PROTOCOLS = IPv6Network("2001::/23")
_SIX_TO_FOUR = IPv6Network("2002::/16")


def canonical(ip: IPAddress) -> IPAddress:
    """An IPv4-mapped address is its IPv4 address: the kernel connects to the same place."""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def embedded(ip: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses which traffic to `ip` may end at or pass through."""
    if isinstance(ip, IPv4Address):
        return ()
    value = int(ip)
    return tuple(
        IPv4Address(extract(value) & 0xFFFFFFFF) for applies, extract in _EMBEDDINGS if applies(ip)
    )


# RFC 6052; RFC 3056; RFC 4380 §4 (server, then the client with its bits turned); RFC 5214 §6.1.
_EMBEDDINGS: tuple[tuple[Callable[[IPv6Address], bool], Callable[[int], int]], ...] = (
    (lambda ip: ip.ipv4_mapped is not None, lambda v: v),
    (lambda ip: ip in _NAT64, lambda v: v),
    (lambda ip: ip in _SIX_TO_FOUR, lambda v: v >> 80),
    (lambda ip: ip in _TEREDO, lambda v: v >> 64),
    (lambda ip: ip in _TEREDO, lambda v: ~v),
    (lambda ip: (int(ip) >> 32) & 0xFDFFFFFF == 0x00005EFE, lambda v: v),
)


def internal(ip: IPAddress) -> str:
    """What makes `ip` no public address ("a private address"), or "" if it is one.

    Judges the address alone: the caller asks again for each of `embedded(ip)`."""
    ip = canonical(ip)
    for network, what in _REFUSED:
        if ip.version == network.version and ip in network:
            return what
    if isinstance(ip, IPv4Address) or ip in _NAT64:
        return ""
    if ip.scope_id is not None:
        return "an address with a scope"
    if ip in _PROTOCOLS and ip not in _TEREDO:
        return "reserved for protocols"
    return "" if ip in _GLOBAL_UNICAST else "not a public address"
