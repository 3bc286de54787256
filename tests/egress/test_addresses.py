"""What is not the public Internet, and which IPv4 addresses hide in IPv6 ones."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress.addresses import canonical, embedded, internal

INTERNAL = {
    "127.0.0.1": "a loopback address",
    "127.80.0.1": "a loopback address",
    "0.0.0.0": "the unspecified address",
    "0.1.2.3": "an address of this network",
    "10.255.255.255": "a private address",
    "172.16.0.0": "a private address",
    "172.31.255.255": "a private address",
    "192.168.0.1": "a private address",
    "100.64.0.1": "a carrier's internal address",
    "169.254.0.1": "a link-local address",
    "169.254.169.254": "a cloud metadata service",
    "168.63.129.16": "a cloud metadata service",
    "100.100.100.200": "a cloud metadata service",
    "192.0.2.77": "reserved for documentation and for boxes",
    "198.18.0.1": "reserved for benchmarks",
    "198.51.100.1": "reserved for documentation",
    "203.0.113.255": "reserved for documentation",
    "224.0.0.1": "a multicast address",
    "239.255.255.255": "a multicast address",
    "255.255.255.255": "the broadcast address",
    "240.0.0.1": "a reserved address",
    "::": "the unspecified address",
    "::1": "a loopback address",
    "::7f00:1": "an IPv4-compatible address",
    "::ffff:10.0.0.1": "a private address",
    "::ffff:0:7f00:1": "not a public address",
    "fe80::1": "a link-local address",
    "fec0::1": "a site-local address",
    "fd00::1": "a private address",
    "fd00:ec2::254": "a cloud metadata service",
    "ff02::1": "a multicast address",
    "64:ff9b:1::a00:1": "a local NAT64 address",
    "100::1": "a discard address",
    "2001:db8::1": "reserved for documentation",
    "2001:10::1": "reserved for protocols",
    "2001:20::1": "reserved for protocols",
    "2001:2::1": "reserved for benchmarks",
    "3fff::1": "reserved for documentation",
    "4000::1": "not a public address",
    "1fff::1": "not a public address",
    "5f00::1": "not a public address",
    "2606:4700::1%2": "an address with a scope",
}


@pytest.mark.parametrize(("text", "what"), INTERNAL.items())
def test_internal_addresses_are_known_by_their_reason(text: str, what: str) -> None:
    assert internal(ip_address(text)) == what


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
        ),
        *("128.0.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255"),
        *("198.17.255.255", "198.20.0.0", "223.255.255.255", "8.8.8.8"),
        *("2000::1", "2001:200::1", "2606:4700::1111", "3ffe:ffff::1", "64:ff9b::808:808"),
        *("2002:808:808::1", "::ffff:8.8.8.8"),
    ],
)
def test_public_addresses_up_to_the_edges_are_public(text: str) -> None:
    assert internal(ip_address(text)) == ""


@given(st.ip_addresses())
def test_what_python_calls_not_global_is_internal(ip: IPv4Address | IPv6Address) -> None:
    """A second opinion from the IANA tables in `ipaddress`, which judges an address without what
    it carries."""
    ends = (canonical(ip), *embedded(ip))
    if not canonical(ip).is_global and not embedded(ip):
        assert any(internal(end) for end in ends)


@given(st.ip_addresses(v=4))
def test_hidden_ipv4_addresses_are_found(ip: IPv4Address) -> None:
    value = int(ip)
    assert canonical(IPv6Address(0xFFFF << 32 | value)) == ip
    carriers = [
        0x64FF9B << 96 | value,  # NAT64
        0x2002 << 112 | value << 80 | 5,  # 6to4
        0x20010000 << 96 | value << 64 | 1,  # Teredo, the server
        0x20010000 << 96 | 7 << 64 | (value ^ 0xFFFFFFFF),  # Teredo, the client
        0x26064700 << 96 | 0x5EFE << 32 | value,  # ISATAP
        0x26064700 << 96 | 0x02005EFE << 32 | value,  # ISATAP, globally unique
    ]
    for carrier in carriers:
        assert ip in embedded(IPv6Address(carrier)), hex(carrier)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_hides_nothing(ip: IPv4Address) -> None:
    assert embedded(ip) == ()
    assert canonical(ip) == ip
