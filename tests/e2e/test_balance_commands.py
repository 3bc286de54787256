"""`bento balance`: an onion service on boxes by one command, for curl through an unmodified tor."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from tests.e2e.command import bento

pytestmark = pytest.mark.network

FILE = bytes(range(256)) * 800


def fetch(socks: str, url: str, user: str) -> bytes:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--max-time", "120"]
        + ["--proxy", f"socks5h://{user}:x@{socks}", url],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_balance_says_what_is_wrong_with_its_words(tmp_path):
    (tmp_path / "empty").mkdir()
    for words in (
        ("balance",),
        ("balance", "--files", tmp_path / "empty"),
        ("balance", "--to", "nowhere"),
        ("balance", "--to", "example.com:80", "--replicas", "-1"),
        ("balance", "--to", "example.com:80", "--high", "0.5", "--low", "0.6"),
    ):
        done = bento(*words)
        assert done.status == 2, done.err
        assert "hint: " in done.err
