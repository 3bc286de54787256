"""`bento testnet`, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bento.testnet import Testnet


def bento(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bento.cli.main", "testnet", *words],
        env={**os.environ, "BENTO_HOME": str(home)},
        capture_output=True,
        text=True,
    )


def test_without_a_network_status_says_so(tmp_path: Path) -> None:
    said = bento(tmp_path, "status")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == "no test network is running\n"


@pytest.mark.parametrize("words", [("status", "--json"), ("--json", "status"), ("down", "--json")])
def test_without_a_network_json_has_the_same_keys(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = bento(tmp_path, *words)
    assert json.loads(said.stdout) == {"ready": False, "socks": "", "boxes": []}


@pytest.mark.parametrize(
    "words", [("up", "--boxes", "99"), ("up", "--relays", "0"), ("up", "--delay-ms", "1e9")]
)
def test_an_impossible_size_is_a_usage_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = bento(tmp_path, *words)
    assert said.returncode == 2
    assert "is not between" in said.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.network
def test_status_of_the_network_that_is_up(network: Testnet) -> None:
    said = bento(network.home, "status", "--json")
    assert said.stdout.count("\n") == 1
    status = json.loads(said.stdout)
    assert status["ready"] is True
    assert [set(box) for box in status["boxes"]] == [
        {"name", "fingerprint", "onion", "bentod_pid", "tor_pid"}
    ] * 3


@pytest.mark.network
def test_up_and_down_show_what_they_wait_for_and_leave_nothing(tmp_path: Path) -> None:
    up = bento(tmp_path, "up", "--boxes", "0", "--relays", "2", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout)["ready"] is True
    assert "relays known to the authority: 5/5" in up.stderr.splitlines()
    assert bento(tmp_path, "down").returncode == 0
    assert json.loads(bento(tmp_path, "status", "--json").stdout)["ready"] is False


@pytest.mark.network
def test_asking_for_another_size_than_what_is_up_is_a_usage_error(network: Testnet) -> None:
    said = bento(network.home, "up", "--boxes", "1")
    assert said.returncode == 2
    assert "is up already" in said.stderr
