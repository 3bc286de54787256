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
