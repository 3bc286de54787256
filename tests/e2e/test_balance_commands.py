"""`bento balance`: an onion service on boxes by one command, for curl through an unmodified tor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time

import pytest
from tests.conclave_views import memory_holds
from tests.e2e.command import bento
from tests.waiting import until

from bento.functions.balancer.notes import Notes
from bento.testnet.processes import descendants

pytestmark = pytest.mark.network

FILE = bytes(range(256)) * 800


def fetch(socks: str, url: str, user: str) -> bytes:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--max-time", "120"]
        + ["--proxy", f"socks5h://{user}:x@{socks}", "--config", "-"],
        input=f'url = "{url}"'.encode(),  # an address that came out of a conclave is in no argument
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def brief(socks: str, url: str, user: str) -> bytes:
    """What comes within five seconds."""
    return subprocess.run(
        ["curl", "-sS", "--max-time", "5", "--proxy", f"socks5h://{user}:x@{socks}", url],
        capture_output=True,
    ).stdout


def test_a_folder_is_served_by_replicas_on_several_boxes_until_it_is_stopped(network, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(FILE)
    started = bento(
        *("balance", "--files", tmp_path / "site", "--replicas", 2),
        *("--key", tmp_path / "key", "--detach", "--json"),
    )
    assert started.status == 0, started.err
    address = started.json["address"]
    assert (tmp_path / "key" / "hostname").read_text() == f"{address}\n"
    socks = asyncio.run(network.status()).socks
    for user in ("ann", "bob", "eve"):
        assert fetch(socks, f"http://{address}/file", user) == FILE
    looked = bento("balance", "status", "--json", "--address", address)
    assert looked.status == 0, looked.err
    said = looked.json
    assert said["address"] == address
    assert said["joined"] >= 3
    assert said["given_up"] == 0
    assert len(said["replicas"]) == 2
    assert address in bento("balance", "status", "--address", address).out.decode()
    stopped = bento("balance", "stop", "--json", "--address", address)
    assert stopped.status == 0, stopped.err
    assert stopped.json["ended"]
    assert stopped.json["replica_seconds"] > 0
    assert bento("balance", "status", "--address", address).status == 2


def test_in_a_conclave_the_service_s_key_is_in_no_process_but_the_front_s(network, tmp_path):
    """Not in its box's bentod and tor, nor anywhere on the replica's box; the emulated conclave itself is
    where root finds it, as the docs say."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(FILE)
    emulated = "--allow-emulated"
    started = bento(
        *("balance", "--conclave", emulated, "--files", tmp_path / "site", "--replicas", 1),
        *("--key", tmp_path / "key", "--detach", "--json"),
    )
    assert started.status == 0, started.err
    assert "EMULATED" in started.err
    address = started.json["address"]
    status = asyncio.run(network.status())
    assert fetch(status.socks, f"http://{address}/file", "ann") == FILE
    key = (tmp_path / "key" / "hs_ed25519_secret_key").read_bytes()[
        32:64
    ]  # its scalar: all one needs
    own = [pid for box in status.boxes for pid in (box.bentod_pid, box.tor_pid)]
    inside = {pid: {p.pid for p in descendants(pid)} - {*own} for pid in own}
    assert not [pid for pid in own if memory_holds(pid, key)]
    holders = {box: [p for p in pids if memory_holds(p, key)] for box, pids in inside.items()}
    assert sorted(map(len, holders.values()))[-2:] == [0, 1], "one sandbox, on one box"
    stopped = bento("balance", "stop", emulated, "--json")
    assert stopped.status == 0, stopped.err


def test_a_standby_serves_when_the_first_fronts_box_is_cut_off_and_the_first_yields(
    network, tmp_path
):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(FILE)
    boxes = asyncio.run(network.status())
    home, socks = boxes.boxes[0], boxes.socks
    started = bento(
        *("balance", "--files", tmp_path / "site", "--most", 2, "--box", home.name),
        *("--standby", 3, "--detach", "--json"),
    )
    assert started.status == 0, started.err
    address = started.json["address"]
    (first, _), (second, _) = Notes.find(address).read()[1]
    assert bento("balance", "status", "--json", "--address", address).json["standby"]
    assert fetch(socks, f"http://{address}/file", "before") == FILE
    os.kill(home.bentod_pid, signal.SIGSTOP)
    try:
        gone, tries = time.monotonic(), iter(range(1000))
        asyncio.run(
            until(lambda: brief(socks, f"http://{address}/file", f"after{next(tries)}") == FILE)
        )
        print("served again after", round(time.monotonic() - gone, 1), "s")
    finally:
        os.kill(home.bentod_pid, signal.SIGCONT)
    asyncio.run(until(lambda: bento("invoke", first.encode(), "status").status != 0))
    assert fetch(socks, f"http://{address}/file", "finally") == FILE
    said = bento("balance", "status", "--json", "--address", address).json
    assert not said["standby"]
    assert bento("invoke", second.encode(), "status").status == 0
    assert bento("balance", "stop", "--json", "--address", address).json["ended"]


def test_balance_says_what_is_wrong_with_its_words(tmp_path):
    (tmp_path / "empty").mkdir()
    for words in (
        ("balance",),
        ("balance", "--files", tmp_path / "empty"),
        ("balance", "--to", "nowhere"),
        ("balance", "--to", "example.com:80", "--replicas", "-1"),
        ("balance", "--to", "example.com:80", "--wait", "50"),
        ("balance", "--to", "example.com:80", "--standby", "0.5"),
        ("balance", "--to", "example.com:80", "--high", "0.5", "--low", "0.6"),
    ):
        done = bento(*words)
        assert done.status == 2, done.err
        assert "hint: " in done.err
