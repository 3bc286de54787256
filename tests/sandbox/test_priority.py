"""Tor goes first: what the control groups weigh, and for how long a start is an exception."""

from __future__ import annotations

from dataclasses import replace

from tests.sandbox.conftest import Spawner
from tests.waiting import until

from bento.sandbox import IMAGES, Sandbox, hierarchies

# By version of control groups: the file, an eighth of the usual weight, an instance's of weight 2.
WEIGHTS = {1: ("cpu.shares", "128", "2048"), 2: ("cpu.weight", "12", "200")}


def homes() -> list[hierarchies.Hierarchy]:
    return [each for each in hierarchies.ours() if "cpu" in each.controllers]


async def test_all_instances_together_weigh_an_eighth_of_one_process(sandbox: Sandbox) -> None:
    """Once the moment of a start is over."""
    assert homes() or sandbox.level == "rlimit"
    for home in homes():
        name, eighth, _ = WEIGHTS[home.version]
        weight = home.base / name
        await until(lambda weight=weight, eighth=eighth: weight.read_text().strip() == eighth)


async def test_among_themselves_each_weighs_what_it_was_given(spawner: Spawner) -> None:
    sandbox = await spawner(limits=replace(IMAGES["python"].limits, weight=2.0))
    for home in homes():
        name, _, twice = WEIGHTS[home.version]
        folder = home.base / str(sandbox.record.group)
        assert (folder / name).read_text().strip() == twice
