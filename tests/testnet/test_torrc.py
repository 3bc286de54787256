"""What each tor is told, checked by tor itself."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from pathlib import Path

import pytest

from bento.testnet.consensus import HELD_CLIENT, HELD_RELAY, far_vote
from bento.testnet.layout import Layout, Node, Size
from bento.testnet.torrc import Options, torrc

AUTHORITY = f"auth orport=9001 no-v2 v3ident={'A' * 40} 127.77.0.1:9030 {'B' * 40}"


def options(plan: Layout, node: Node) -> Options:
    return torrc(plan, node, authority_line=AUTHORITY)


def plan(tmp_path: Path, delay_ms: float = 0) -> Layout:
    return Layout(Size(boxes=1, relays=2, delay_ms=delay_ms), 77, tmp_path, tmp_path)


@pytest.mark.parametrize("delay_ms", [0, 20])
@pytest.mark.parametrize(
    "name", ["auth", "relay0", "exit0", "box0", "box0-functions", "client", "user"]
)
def test_tor_accepts_every_configuration(tmp_path: Path, name: str, delay_ms: float) -> None:
    network = plan(tmp_path, delay_ms)
    node = next(n for n in [*network.servers, *network.clients] if n.name == name)
    node.data.mkdir(parents=True, mode=0o700)
    network.resolv_conf.write_text(f"nameserver {network.resolver}\n")
    start = [far_vote()] if name == "auth" else list((HELD_RELAY | HELD_CLIENT).items())
    lines = [*options(network, node), *start, ("DataDirectory", str(node.data))]
    file, empty = tmp_path / "torrc", tmp_path / "empty"
    file.write_text("".join(f"{key} {value}\n" for key, value in lines))
    empty.write_text("")
    said = subprocess.run(
        ["tor", "--verify-config", "-f", file, "--defaults-torrc", empty],
        capture_output=True,
        text=True,
    )
    # An authority's keys are looked for too; they are made before it starts.
    assert said.returncode == 0 or "No v3 identity key" in said.stdout, said.stdout


@pytest.mark.parametrize("delay_ms", [0, 20])
def test_no_configuration_names_an_address_outside_loopback(
    tmp_path: Path, delay_ms: float
) -> None:
    network = plan(tmp_path, delay_ms)
    for node in [*network.servers, *network.clients]:
        text = "\n".join(value for key, value in options(network, node))
        found = re.findall(r"\d+\.\d+\.\d+\.\d+", text)
        assert all(ipaddress.ip_address(address).is_loopback for address in found)


def test_every_server_speaks_from_its_own_loopback_address(tmp_path: Path) -> None:
    network = plan(tmp_path)
    for node in network.servers:
        assert ("OutboundBindAddress", node.address) in options(network, node)


def test_a_box_opens_its_entrance_first_then_the_web_and_nothing_else(tmp_path: Path) -> None:
    network = plan(tmp_path)
    box = network.boxes[0].relay
    policy = [value for key, value in options(network, box) if key == "ExitPolicy"]
    assert policy == [f"accept {box.address}:5000", "accept 127.80.0.0/16:*", "reject *:*"]


def test_with_delay_tor_advertises_a_port_on_which_it_does_not_listen(tmp_path: Path) -> None:
    network = plan(tmp_path, delay_ms=20)
    for node in network.servers:
        ports = [value for key, value in options(network, node) if key == "ORPort"]
        assert ports == [
            f"{node.address}:9001 IPv4Only NoListen",
            f"{node.address}:9101 IPv4Only NoAdvertise",
        ]
