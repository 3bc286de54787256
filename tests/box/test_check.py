"""`bentod check`: every layer and every line of torrc, all problems in one run; and a box that lacks a
layer does not start unless its configuration says that this is known."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from tests.e2e.command import bento
from tests.local_box import local_box

from bento.box.checkup import State, check_up, require
from bento.box.config import load
from bento.box.identity import load_or_create
from bento.box.relay_lines import Expected
from bento.errors import HostError
from bento.sandbox import Layer, bubblewrap, hierarchies, launch
from bento.sandbox.layers import LIMITS
from bento.tor.process import TorProcess

CONFIG = """
name = "box"
state = "{folder}/state"
run = "{folder}/run"
{top}
[tor]
relay_control = "{control}"
[entrance.circuit]
address = "127.0.0.9"
port = 5077
[entrance.onion]
single_hop = true
"""
OFFLINE = ("DisableNetwork 1", "SocksPort 0")


def config(tmp_path, control="unix:/nowhere", top=""):
    path = tmp_path / "bentod.toml"
    path.write_text(CONFIG.format(folder=tmp_path, control=control, top=top))
    return path


def states(report):
    return {finding.name: finding.state for finding in report.findings}


async def bentod(*words):
    return await asyncio.to_thread(bento, *words, program="bento.cli.bentod")


@pytest.mark.network
async def test_a_box_that_works_passes_with_every_line_compared(network):
    path = network.home / "testnet" / "box0" / "bentod" / "bentod.toml"
    done = await bentod("check", "--json", "--config", path)
    assert done.status == 0, done.out
    found = {finding["name"]: finding for finding in done.json["findings"]}
    assert done.json["ok"] is True
    assert found["ContactInfo"]["detail"] == "announces this box"
    [line] = [name for name in found if name.startswith("ExitPolicy accept 127.")]
    assert found[line]["state"] == found["it is a relay"]["state"] == "present"
    assert found["single-hop onion entrance"]["state"] == "present"
    assert "untested on hardware" in found["tsm"]["detail"]
    assert found["tsm"]["state"] == "untestable"
    assert line in done.json["torrc"]


@pytest.fixture
def without_bubblewrap(monkeypatch):
    monkeypatch.setattr(bubblewrap, "PROGRAM", "/nowhere/bwrap")
    launch._command.cache_clear()
    yield
    launch._command.cache_clear()


async def test_all_problems_are_told_in_one_run_with_what_to_do(
    tmp_path, monkeypatch, without_bubblewrap
):
    monkeypatch.setattr(hierarchies, "ours", tuple)
    load_or_create(tmp_path / "state")
    (tmp_path / "state").chmod(0o755)
    async with TorProcess(OFFLINE, tmp_path / "tor", "no relay") as tor:
        report = await check_up(config(tmp_path, tor.control_address))
    missing = [finding.name for finding in report.findings if finding.is_problem]
    assert not report.ok
    assert set(missing) >= {
        *("bubblewrap", "a sandbox starts", *LIMITS, "state folder", "it is a relay"),
        *("ExitPolicy accept 127.0.0.9:5077", "single-hop onion entrance", "ContactInfo"),
    }
    details = {finding.name: finding.detail for finding in report.findings}
    assert "apt-get install bubblewrap" in details["bubblewrap"]
    assert "chmod 700" in details["state folder"]
    assert load_or_create(tmp_path / "state").key_hash in details["ContactInfo"]
    assert "before every other one" in details["ExitPolicy accept 127.0.0.9:5077"]


async def test_another_boxs_announcement_is_told_from_none(tmp_path):
    load_or_create(tmp_path / "state")
    other = load_or_create(tmp_path / "other")
    contact = f"ContactInfo bento=1 port=5077 host=relay onion={other.onion} key={other.key_hash}"
    async with TorProcess([*OFFLINE, contact], tmp_path / "tor", "another's relay") as tor:
        report = await check_up(config(tmp_path, tor.control_address))
    [found] = [finding for finding in report.findings if finding.name == "ContactInfo"]
    assert found.state is State.MISSING and "announces another box" in found.detail


async def test_the_command_exits_with_1_and_makes_nothing(tmp_path):
    path = config(tmp_path)
    done = await bentod("check", "--config", path)
    assert done.status == 1
    said = done.out.decode()
    assert "MISSING" in said and "1 problems" in said
    assert "ExitPolicy accept 127.0.0.9:5077" in said and "ControlSocket /nowhere" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["bentod.toml"]


async def test_a_configuration_that_cannot_be_read_is_one_of_the_problems(tmp_path):
    path = tmp_path / "bentod.toml"
    path.write_text("nonsense")
    report = await check_up(path)
    assert states(report)[str(path)] is State.MISSING
    assert states(report)["a sandbox starts"] is State.PRESENT


def test_the_lines_it_prints_are_torrc_that_tor_accepts(tmp_path):
    path = config(tmp_path, control=f"unix:{tmp_path}/control")
    path.write_text(path.read_text().replace('address = "127.0.0.9"', ""))
    for make in (lambda: None, lambda: load_or_create(tmp_path / "state")):
        make()
        lines = Expected.of(load(path)).torrc
        assert "ExitPolicy accept 192.0.2.77:5077" in lines
        assert "ExitPolicyRejectPrivate 0" not in lines
        torrc, empty = tmp_path / "torrc", tmp_path / "empty"
        torrc.write_text("\n".join([f"DataDirectory {tmp_path}/tor", "ORPort 9001", *lines]))
        empty.write_text("")
        verify = ["tor", "--verify-config", "-f", torrc, "--defaults-torrc", empty]
        done = subprocess.run(verify, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    assert lines[-1].startswith("ContactInfo you@example.org bento=1 port=5077 onion=")


async def test_a_box_without_a_layer_does_not_start_unless_its_file_says_so(monkeypatch):
    monkeypatch.setattr(hierarchies, "ours", tuple)
    with pytest.raises(HostError) as caught:
        async with local_box(without=LIMITS[:1]):
            raise AssertionError("it started")
    assert LIMITS[0] not in caught.value.detail
    assert all(name in caught.value.detail for name in LIMITS[1:])
    assert f'without = ["{LIMITS[1]}"' in caught.value.hint
    async with local_box(without=LIMITS) as local:
        assert local.sandboxes.enforcement == "rlimit"


def test_what_the_box_does_not_offer_is_not_required():
    layers = [Layer("image browser", False, "no chromium"), Layer("bubblewrap", True, "")]
    require(layers, ("python",), ())
    with pytest.raises(HostError, match="no chromium"):
        require(layers, ("python", "browser"), ())
