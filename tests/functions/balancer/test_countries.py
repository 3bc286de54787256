"""Where relays stand, by the front's tor: asked once for each address, and never needed."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from bento.errors import TorError
from bento.functions.balancer.countries import Countries
from bento.onion.certs import RelayIdentity
from bento.onion.linkspec import for_relay

IDENTITY = RelayIdentity(b"r" * 20, b"e" * 32)
TABLE = {"192.0.2.1": "de", "192.0.2.2": "??"}


class Tor:
    """Knows the table; with none it has no database."""

    def __init__(self, table):
        self.table, self.asked = table, []

    async def get_info(self, key):
        self.asked.append(key)
        if self.table is None:
            raise TorError("GeoIP data not loaded")
        return {key: self.table[key.removeprefix("ip-to-country/")]}


class Network:
    async def directory(self):
        relay = SimpleNamespace(fingerprint="AB" * 20, addresses=((ip_address("192.0.2.1"), 9001),))
        return SimpleNamespace(relays=(relay,))


def waiting_at(*addresses):
    places = for_relay(IDENTITY, [(ip_address(address), 9001) for address in addresses])
    return SimpleNamespace(relay=SimpleNamespace(specifiers=places))


@pytest.mark.parametrize(
    ("table", "address", "country"),
    [(TABLE, "192.0.2.1", "de"), (TABLE, "192.0.2.2", ""), (None, "192.0.2.1", "")],
)
async def test_a_visitor_is_where_its_rendezvous_point_is(table, address, country):
    tor = Tor(table)
    countries = Countries(tor, Network(), {})
    for _ in range(3):
        assert await countries.of_visitor(waiting_at(address, "2001:db8::1")) == country
    assert len(tor.asked) == 1


async def test_a_replica_is_where_the_relay_of_its_box_is():
    countries = Countries(Tor(TABLE), Network(), {1: "AB" * 20, 2: "CD" * 20})
    assert [await countries.of_replica(number) for number in (1, 2, 3)] == ["de", "", ""]


async def test_nobody_without_an_ipv4_address_is_asked_for():
    assert await Countries(Tor(TABLE), Network(), {}).of_visitor(waiting_at("2001:db8::1")) == ""
