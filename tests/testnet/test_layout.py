"""The plan of a network: loopback addresses only, one for each node."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import UsageError
from bento.testnet.layout import (
    MOST_BOXES,
    MOST_RELAYS,
    NET_NUMBERS,
    WEB,
    Layout,
    Size,
    require_loopback,
)

sizes = st.builds(Size, boxes=st.integers(0, MOST_BOXES), relays=st.integers(2, MOST_RELAYS))


def layout(size: Size, net: int = 77) -> Layout:
    return Layout(size, net, Path("/data"), Path("/run/bento-0123456789"))


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "128.0.0.1", "::1", "localhost", ""]
)
def test_an_address_outside_loopback_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="loopback"):
        require_loopback(["127.77.0.1", address])


@given(sizes, st.sampled_from(NET_NUMBERS))
def test_every_address_of_every_network_is_loopback_and_outside_the_web(
    size: Size, net: int
) -> None:
    addresses = [host for host, _ in layout(size, net).listeners()]
    require_loopback(addresses)
    assert not any(ipaddress.ip_address(a) in ipaddress.ip_network(WEB) for a in addresses)


@given(sizes, st.floats(0, 100))
def test_no_two_nodes_share_an_address_or_a_file(size: Size, delay: float) -> None:
    plan = layout(replace(size, delay_ms=delay))
    nodes = [*plan.servers, *plan.clients]
    listeners = list(plan.listeners())
    assert len(set(listeners)) == len(listeners)
    for files in ([n.data for n in nodes], [n.control for n in nodes], [n.socks for n in nodes]):
        assert len(set(files)) == len(nodes)


def test_the_default_network_has_what_its_users_need() -> None:
    roles = [node.role.value for node in layout(Size()).servers]
    assert roles.count("authority") == 1
    assert roles.count("relay") == 4
    assert roles.count("exit") == 2
    assert roles.count("box") == 3


@given(sizes)
def test_another_size_moves_no_node(size: Size) -> None:
    addresses = {node.name: node.address for node in layout(size).servers}
    largest = {n.name: n.address for n in layout(Size(MOST_BOXES, MOST_RELAYS)).servers}
    assert addresses.items() <= largest.items()


def test_socket_paths_fit_into_a_socket_address() -> None:
    plan = layout(Size(MOST_BOXES, MOST_RELAYS))
    assert all(len(str(node.control)) <= 107 for node in [*plan.servers, *plan.clients])


@pytest.mark.parametrize("wrong", [{"boxes": -1}, {"boxes": 61}, {"relays": 1}, {"delay_ms": -1}])
def test_an_impossible_size_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="is not between"):
        Size(**wrong)
