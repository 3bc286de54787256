"""Cover: the same number of cells in every stretch of time, whether there is data or not."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.onion.test_circuit import World, built, opened
from tests.waiting import until

from bento.errors import LocalProtocolError
from bento.onion.cover import Cover, FixedRate
from bento.onion.relay import RelayCommand


@given(st.floats(0.1, 5000), st.lists(st.floats(0, 0.5), max_size=50))
def test_the_rate_is_kept_whatever_the_ticks(rate: float, ticks: list[float]) -> None:
    schedule, now, sent = FixedRate(rate, 0.0), 0.0, 0
    for tick in ticks:
        now += tick
        due = schedule.due(now)
        assert due >= 0
        schedule.sent(due)
        sent += due
        assert abs(sent - now * rate) <= 1


@pytest.mark.parametrize("rate", [0, -1, 6000])
def test_a_rate_that_cannot_be_kept_is_refused(rate: float) -> None:
    with pytest.raises(LocalProtocolError):
        FixedRate(rate, 0.0)


def ticks_of(cover: Cover) -> list[float]:
    """When the schedule was asked what is due, from here on."""
    ticks: list[float] = []
    due = cover._schedule.due

    def noted(now: float) -> int:
        ticks.append(now)
        return due(now)

    cover._schedule.due = noted  # type: ignore[method-assign]
    return ticks


async def settled(ticks: list[float]) -> None:
    """Right behind a whole tick."""
    seen = len(ticks)
    await until(lambda: len(ticks) > seen, pause=0)
    for _ in range(20):  # turns of the loop: more than a tick leaves to writers
        await asyncio.sleep(0)


async def run(world: World, seconds: float, data: bytes) -> list[int]:
    stream = await opened(world)
    cover = Cover(world.circuit, 400, hop=1)
    ticks = ticks_of(cover)
    await settled(ticks)
    world.heard.clear()
    began = ticks[-1]
    writing = asyncio.ensure_future(stream.write(data)) if data else None
    await asyncio.sleep(seconds)
    await settled(ticks)
    took = (
        ticks[-1] - began
    )  # by the ticks: a busy machine may run them late, and then more at once
    count = len(world.heard)
    await cover.stop()
    if writing:
        await writing
    assert abs(count - 400 * took) <= 400 * 0.05 + 2
    return world.commands()[:count]


async def test_idle_and_busy_send_the_same_number_of_cells() -> None:
    idle = await run(await built(), 0.4, b"")
    busy = await run(await built(), 0.4, bytes(498 * 60))
    full = await run(await built(), 0.4, bytes(498 * 400))
    assert set(idle) == {RelayCommand.DROP}
    assert busy.count(RelayCommand.DATA) >= 60
    assert RelayCommand.DROP in busy
    assert RelayCommand.DROP not in full


async def test_acknowledgements_take_the_place_of_cover() -> None:
    world = await built()
    stream = await opened(world)
    cover = Cover(world.circuit, 100, hop=1)
    await asyncio.sleep(0.03)
    world.heard.clear()
    began = asyncio.get_running_loop().time()
    for _ in range(5):
        for _ in range(100):
            world.say(RelayCommand.DATA, stream.number, b"x")
        await stream.read()
    await asyncio.sleep(0.4)
    took = asyncio.get_running_loop().time() - began
    assert RelayCommand.SENDME in world.commands()
    assert len(world.heard) <= 100 * took + 5
    await cover.stop()


async def test_a_full_link_shows_in_the_count_of_skipped_ticks() -> None:
    world = await built()
    cover = Cover(world.circuit, 100, hop=1)
    world.blocked = True
    await asyncio.sleep(0.1)
    assert cover.skipped >= 2
    await cover.stop()


async def test_cover_ends_with_its_circuit() -> None:
    world = await built()
    cover = Cover(world.circuit, 100, hop=1)
    world.circuit.close()
    await asyncio.sleep(0.05)
    assert cover._task.done()
    assert cover._task.exception() is None
