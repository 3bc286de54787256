"""Hostile functions, sent to a real box as anybody would send them: every one is contained, the box
answers, and the function next door goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.hostile.arena import Arena, arena
from tests.hostile.catalogue import ATTACKS, GROUPS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def under_attack() -> AsyncIterator[Arena]:
    async with arena() as found:
        yield found


async def test_there_are_sixty_of_them() -> None:
    assert len(ATTACKS) >= 60
    assert len(ATTACKS) == sum(map(len, GROUPS.values()))


@pytest.mark.parametrize("name", ATTACKS)
async def test_contained(under_attack: Arena, name: str) -> None:
    attack = ATTACKS[name]
    outcome = await under_attack.run(attack)
    assert attack.is_contained(outcome, under_attack.runtime), f"{name}: {outcome}"
    await under_attack.go_on()


# Of each group, what the other runtimes could get wrong. All of them on all runtimes: the campaign.
SLICE = (
    *("namespaces by clone", "programs that run as root", "descriptors forged for the box"),
    *("a fork bomb", "a memory hog", "a full disk", "an answer without end, to nobody who reads"),
    *("another function's files", "bentod's environment and command line"),
    *("TCP without the proxy", "loopback in disguise", "a flood against one host of the web"),
)


@pytest.mark.parametrize("runtime", ["crun", "runsc"])
async def test_a_slice_on_another_runtime(runtime: str) -> None:
    async with arena(runtime) as found:
        for name in SLICE:
            outcome = await found.run(ATTACKS[name])
            assert ATTACKS[name].is_contained(outcome, runtime), f"{name}: {outcome}"
            await found.go_on()
