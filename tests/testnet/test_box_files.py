"""What a box is told and what the world is told of it, before it runs."""

from __future__ import annotations

from pathlib import Path

from bento.box.config import load
from bento.box.identity import load_or_create
from bento.testnet.box_files import prepare
from bento.testnet.layout import Box, Layout, Size
from bento.tor.announcement import Announcement


def box(tmp_path: Path) -> Box:
    run = tmp_path / 'run "quoted" \\ ünï'
    run.mkdir()
    return Layout(Size(boxes=2), 77, tmp_path / "data", run).boxes[1]


def test_bentod_reads_what_was_written(tmp_path: Path) -> None:
    made = box(tmp_path)
    prepare(made, made.config.parent / "emulated")
    config = load(made.config)
    assert (config.name, config.state, config.run) == ("box1", made.state, made.run)
    assert config.entrance.circuit is not None
    assert config.entrance.circuit.address == made.relay.address
    assert config.tor.relay_control == made.relay.control_endpoint
    assert config.tor.functions_socks == made.functions.socks_endpoint
    assert config.egress.test_web == "127.80.0.0/16"


def test_the_relay_announces_the_box_s_own_keys(tmp_path: Path) -> None:
    made = box(tmp_path)
    prepared = prepare(made, made.config.parent / "emulated")
    identity = load_or_create(made.state)
    announced = Announcement.parse(prepared.contact)
    assert announced is not None
    assert announced.onion == prepared.onion == identity.onion
    assert announced.key == identity.key_hash
    assert (announced.port, announced.host) == (5000, "relay")


def test_a_box_is_the_same_box_after_another_start(tmp_path: Path) -> None:
    made = box(tmp_path)
    assert prepare(made, made.config.parent / "emulated") == prepare(
        made, made.config.parent / "emulated"
    )
