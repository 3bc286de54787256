"""Paths from what a tor knows."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.tor.fake_client import NAMES, entry, fingerprint

from bento.errors import TorError
from bento.tor.controller import Controller
from bento.tor.planner import PathPlanner


@pytest.fixture
async def planner(fake_client):
    async with await Controller.connect(fake_client.address) as controller:
        yield PathPlanner(controller, rng=random.Random(7))


async def test_a_path_has_our_guard_a_middle_and_the_box(planner):
    paths = {await planner.plan(fingerprint("box")) for _ in range(50)}
    assert {path[0] for path in paths} == {fingerprint("guard")}
    assert {path[1] for path in paths} == {fingerprint(n) for n in ("spare", "middle", "second")}
    assert {path[2] for path in paths} == {fingerprint("box")}


async def test_the_box_is_not_its_own_guard(planner, fake_client):
    fake_client.guards = [f"${fingerprint(n)}~{n} up" for n in ("box", "spare")]
    assert (await planner.plan(fingerprint("box")))[0] == fingerprint("spare")


async def test_no_two_relays_of_one_family_meet(planner, fake_client):
    def family(*names: str) -> str:
        return "family " + " ".join(f"${fingerprint(name)}" for name in names)

    fake_client.families = {fingerprint(n): family("guard", "second", "box") for n in NAMES}
    paths = {await planner.plan(fingerprint("box")) for _ in range(50)}
    assert paths == {tuple(fingerprint(n) for n in ("spare", "middle", "box"))}


async def test_a_box_cannot_drive_its_visitors_by_naming_the_others_its_family(
    planner, fake_client
):
    fake_client.families = {
        fingerprint("box"): "family "
        + " ".join(f"${fingerprint(n)}" for n in NAMES if n != "second")
    }
    paths = {await planner.plan(fingerprint("box")) for _ in range(50)}
    assert {path[1] for path in paths} == {fingerprint(n) for n in ("spare", "middle", "second")}


async def test_a_bad_guard_is_taken_again_only_if_there_is_no_other(planner, fake_client):
    bad = {fingerprint("guard")}
    assert (await planner.plan(fingerprint("box"), bad_guards=bad))[0] == fingerprint("spare")
    fake_client.guards = fake_client.guards[:1]
    assert (await planner.plan(fingerprint("box"), bad_guards=bad))[0] == fingerprint("guard")


async def test_without_a_guard_there_is_no_path(planner, fake_client):
    fake_client.guards = [f"${fingerprint('guard')}~guard down"]
    with pytest.raises(TorError, match="no guard"):
        await planner.plan(fingerprint("box"))


async def test_the_network_is_asked_for_once_and_again_for_a_box_that_is_new(planner, fake_client):
    for _ in range(3):
        await planner.plan(fingerprint("box"))
    assert len(fake_client.asked_for("GETINFO ns/all")) == 1
    fake_client.statuses += "\n" + entry("new", 77)
    assert (await planner.plan(fingerprint("new")))[2] == fingerprint("new")
    assert len(fake_client.asked_for("GETINFO ns/all")) == 2


async def test_a_tor_without_a_consensus_gets_time_to_fetch_one(planner, fake_client):
    statuses, fake_client.statuses = fake_client.statuses, ""
    planning = asyncio.ensure_future(planner.plan(fingerprint("box")))
    for _ in range(2):
        await fake_client.asked("GETINFO ns/all")
    fake_client.statuses = statuses
    assert await planning


async def test_the_subnet_rule_is_tor_s_own(planner, fake_client):
    fake_client.statuses = "\n".join(entry(name, 1) for name in NAMES)
    with pytest.raises(TorError):
        await planner.plan(fingerprint("box"))
    fake_client.answers["GETCONF"] = "250 EnforceDistinctSubnets=0"
    async with await Controller.connect(fake_client.address) as controller:
        assert await PathPlanner(controller).plan(fingerprint("box"))
