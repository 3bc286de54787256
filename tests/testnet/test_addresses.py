"""Two networks on one machine never share an address."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bento.errors import HostError, UsageError
from bento.testnet import addresses
from bento.testnet.addresses import claim
from bento.testnet.layout import Layout, Size


def plan(net: int) -> Layout:
    return Layout(Size(boxes=1, relays=2), net, Path("/data"), Path("/run"))


@pytest.fixture(autouse=True)
def own_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets that no network of the machine asks for."""
    monkeypatch.setattr(addresses, "NET_NUMBERS", (211, 212))


def test_the_second_network_gets_another_net() -> None:
    first, held = claim(plan, None)
    with held:
        second, held_too = claim(plan, None)
        held_too.close()
    assert (first.net, second.net) == (211, 212)


def test_a_network_gets_the_net_it_had() -> None:
    layout, held = claim(plan, 212)
    held.close()
    assert layout.net == 212


def test_a_net_is_free_again_when_its_network_ends() -> None:
    for _ in range(2):
        layout, held = claim(plan, None)
        held.close()
        assert layout.net == 211


def test_a_net_in_which_another_program_listens_is_left_alone() -> None:
    with socket.create_server(("127.211.0.1", 9030)):
        layout, held = claim(plan, None)
        held.close()
    assert layout.net == 212


def test_when_none_is_free_the_taken_address_is_named() -> None:
    with (
        socket.create_server(("127.211.0.1", 9001)),
        socket.create_server(("127.212.0.1", 9001)),
        pytest.raises(HostError, match=r"127\.212\.0\.1:9001 is in use"),
    ):
        claim(plan, None)


def test_a_plan_with_an_address_outside_loopback_claims_nothing() -> None:
    class Astray(Layout):
        def listeners(self):  # type: ignore[no-untyped-def]
            yield from super().listeners()
            yield "192.0.2.1", 9001

    with pytest.raises(UsageError, match="loopback"):
        claim(lambda net: Astray(Size(), net, Path("/data"), Path("/run")), None)
