"""`bento balance --merged`: onion services of unmodified tors found under one address, without Python's cells."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
from tests.e2e.command import bento
from tests.e2e.test_balance_commands import fetch
from tests.e2e.web import web_site

from bento.functions.balancer.keys import key_of
from bento.onion.blinding import OnionIdentity
from bento.testnet.torrc import COMMON
from bento.tor.process import TorProcess

pytestmark = pytest.mark.network

INSTANCES = ("one", "two")
FETCHES = 40  # each meets either instance: all one's once in 2^39 runs


def operators_torrc(home: Path, folder: Path, master: str, webs: dict[str, str]) -> list:
    """What docs/functions/loadbalancer.md tells the operators of the instances to write."""
    known = (home / "testnet" / "user" / "tor" / "torrc").read_text().splitlines()
    lines: list = [*COMMON, next(line for line in known if line.startswith("DirAuthority "))]
    for name, web in webs.items():
        (folder / name).mkdir(mode=0o700, parents=True)
        (folder / name / "ob_config").write_text(f"MasterOnionAddress {master}\n")
        lines += [("HiddenServiceDir", str(folder / name))]
        lines += [("HiddenServicePort", f"80 {web.removeprefix('http://')}")]
        lines += [("HiddenServiceOnionBalanceInstance", "1")]
    return lines


async def test_visitors_of_one_address_are_spread_over_c_tors_own_services(
    network, bento_home, tmp_path
):
    master = OnionIdentity.from_c_tor_file(key_of(tmp_path / "key")).address + ".onion"
    with ExitStack() as sites:
        webs = {
            name: sites.enter_context(web_site({"/file": name.encode()}))[0] for name in INSTANCES
        }
        torrc = operators_torrc(bento_home, tmp_path / "tor", master, webs)
        async with AsyncExitStack() as stack:
            tor = TorProcess(torrc, tmp_path / "data", "operator")
            await tor.start()
            stack.push_async_callback(tor.stop)
            await tor.bootstrapped()
            own = [(tmp_path / "tor" / name / "hostname").read_text().strip() for name in INSTANCES]
            await asyncio.to_thread(balanced, network, tmp_path / "key", master, own)


def balanced(network, key: Path, master: str, own: list[str]) -> None:
    started = bento(
        *("balance", "--merged", *own, "--every", 2, "--key", key, "--detach", "--json")
    )
    assert started.status == 0, started.err
    assert started.json["address"] == master
    try:
        socks = asyncio.run(network.status()).socks
        seen = set()
        for number in range(FETCHES):
            seen.add(fetch(socks, f"http://{master}/file", f"visitor{number}"))
            if len(seen) == len(INSTANCES):
                break
        assert seen == {name.encode() for name in INSTANCES}
        said = bento("balance", "status", "--json", "--address", master).json
        assert [row["instance"] for row in said["replicas"]] == own
        assert {row["state"] for row in said["replicas"]} == {"ready"}
    finally:
        stopped = bento("balance", "stop", "--json", "--address", master)
    assert stopped.status == 0, stopped.err
    assert stopped.json["replica_seconds"] > 0
