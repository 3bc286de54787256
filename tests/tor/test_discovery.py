"""Boxes found by their announcements, in a real network."""

from __future__ import annotations

import asyncio

import pytest
from tests.tor.fake_client import fingerprint

from bento.errors import TorError
from bento.tor import discovery
from bento.tor.controller import Controller
from bento.tor.discovery import discover


@pytest.mark.network
async def test_the_boxes_of_the_network_are_found_and_kept(tor_network, client, tmp_path):
    cache = tmp_path / "boxes.json"
    boxes = await discover(client, cache, 60)
    assert {box.fingerprint for box in boxes} == set(tor_network.boxes)
    for box in boxes:
        assert box.announcement.port
        assert len(box.announcement.onion) == 56
        assert "Running" in box.flags
    kept = cache.read_bytes()
    assert await discover(client, cache, 60) == boxes
    assert cache.read_bytes() == kept
    assert await discover(client, cache, 0) == boxes
    assert cache.read_bytes() != kept


@pytest.mark.network
async def test_tor_is_switched_back(joined_tor, tor_network, tmp_path):
    async with await joined_tor.controller() as controller:
        before = await controller.get_conf("UseMicrodescriptors")
        boxes = await discover(controller, tmp_path / "boxes.json", 0)
        assert {box.fingerprint for box in boxes} == set(tor_network.boxes)
        assert await controller.get_conf("UseMicrodescriptors") == before == ["auto"]


async def switched(fake_client) -> None:
    assert await fake_client.asked("SETCONF") == 'SETCONF UseMicrodescriptors="0"'


@pytest.fixture
def microdescriptors(fake_client):
    fake_client.answers["GETCONF"] = "250 UseMicrodescriptors=auto"
    return fake_client


async def test_tor_is_switched_back_if_the_search_is_given_up(microdescriptors, tmp_path):
    async with await Controller.connect(microdescriptors.address) as controller:
        searching = asyncio.ensure_future(discover(controller, tmp_path / "boxes.json", 0))
        await switched(microdescriptors)
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        assert await microdescriptors.asked("SETCONF") == 'SETCONF UseMicrodescriptors="auto"'
    assert not (tmp_path / "boxes.json").exists()


async def test_a_tor_that_gets_no_descriptors_is_told_and_switched_back(
    microdescriptors, tmp_path, monkeypatch
):
    monkeypatch.setattr(discovery, "_PATIENCE", 0.2)
    async with await Controller.connect(microdescriptors.address) as controller:
        with pytest.raises(TorError, match="has not got the relays' descriptors"):
            await discover(controller, tmp_path / "boxes.json", 0)
        await switched(microdescriptors)
        assert await microdescriptors.asked("SETCONF") == 'SETCONF UseMicrodescriptors="auto"'


async def test_descriptors_that_never_come_are_not_waited_for_long(
    microdescriptors, tmp_path, monkeypatch
):
    monkeypatch.setattr(discovery, "_QUIET", 0.1)
    monkeypatch.setattr(discovery, "_ENOUGH", 0.5)
    async with await Controller.connect(microdescriptors.address) as controller:
        searching = asyncio.ensure_future(discover(controller, tmp_path / "boxes.json", 0))
        await microdescriptors.asked("GETINFO desc/all-recent")
        for name in ("box", "guard", "middle"):
            microdescriptors.say(f"650 NEWDESC ${fingerprint(name)}~{name}")
        assert await searching == []


async def test_only_one_of_many_asks_tor(microdescriptors, tmp_path):
    async with await Controller.connect(microdescriptors.address) as controller:
        searching = [
            asyncio.ensure_future(discover(controller, tmp_path / "boxes.json", 60))
            for _ in range(5)
        ]
        await microdescriptors.asked("GETINFO desc/all-recent")
        for name in ("box", "guard", "middle", "second", "spare"):
            microdescriptors.say(f"650 NEWDESC ${fingerprint(name)}~{name}")
        assert await asyncio.gather(*searching) == [[]] * 5
    assert len(microdescriptors.asked_for('SETCONF UseMicrodescriptors="0"')) == 1
