"""A kept process is always there, until it is stopped."""

from __future__ import annotations

import asyncio

import pytest

from bento.errors import HostError
from bento.testnet.keeper import Keeper


class Fake:
    """A process in memory. `lives` is how each one of a series ends: at start, or when told."""

    started = 0

    def __init__(self, *, refuse: bool = False) -> None:
        self.name = "fake"
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.pid = 0
        self.running = False
        self._refuse = refuse

    async def start(self) -> None:
        if self._refuse:
            raise HostError("no")
        Fake.started += 1
        self.pid = Fake.started
        self.running = True

    async def stop(self) -> None:
        if not self.exited.done():
            self.exited.set_result(-15)
        self.running = False

    def failure(self) -> HostError:
        return HostError("fake ended")

    def die(self, status: int) -> None:
        self.running = False
        self.exited.set_result(status)


class Series:
    """Makes fakes; those whose number is in `refuse` do not start."""

    def __init__(self, *refuse: int) -> None:
        self.made: list[Fake] = []
        self._refuse = refuse

    def __call__(self) -> Fake:
        self.made.append(Fake(refuse=len(self.made) in self._refuse))
        return self.made[-1]


async def until(count: int, series: Series) -> Fake:
    async with asyncio.timeout(60):
        while len(series.made) < count or not series.made[count - 1].running:
            await asyncio.sleep(0.01)
    return series.made[count - 1]


async def test_one_that_was_killed_is_started_again_at_once() -> None:
    series, heard = Series(), []
    keeper = Keeper(series, lambda name, pid: heard.append(pid))
    first = await keeper.start()
    first.die(-9)
    second = await until(2, series)
    await asyncio.sleep(0)
    assert keeper.pid == second.pid
    assert heard == [first.pid, second.pid]
    await keeper.stop()


async def test_a_start_that_fails_is_tried_again() -> None:
    series = Series(1, 2)
    keeper = Keeper(series, lambda name, pid: None)
    (await keeper.start()).die(-9)
    await until(4, series)
    await keeper.stop()


async def test_while_it_is_gone_it_has_no_id() -> None:
    series = Series(*range(1, 1000))
    keeper = Keeper(series, lambda name, pid: None)
    (await keeper.start()).die(1)
    await asyncio.sleep(0.01)
    assert keeper.pid is None
    await keeper.stop()


async def test_the_first_start_reports_its_failure() -> None:
    keeper = Keeper(Series(0), lambda name, pid: None)
    with pytest.raises(HostError, match="no"):
        await keeper.start()
    await keeper.stop()


async def test_after_stop_nothing_runs_and_nothing_is_started() -> None:
    series = Series()
    keeper = Keeper(series, lambda name, pid: None)
    await keeper.start()
    await keeper.stop()
    await asyncio.sleep(0.05)
    assert [fake.running for fake in series.made] == [False]


async def test_stop_in_the_middle_of_a_start_leaves_nothing() -> None:
    class Slow(Fake):
        async def start(self) -> None:
            await super().start()
            await asyncio.sleep(3600)

    made: list[Fake] = []

    def make() -> Fake:
        made.append(Slow() if made else Fake())
        return made[-1]

    keeper = Keeper(make, lambda name, pid: None)
    (await keeper.start()).die(-9)
    while len(made) < 2 or not made[1].running:
        await asyncio.sleep(0.01)
    await keeper.stop()
    assert not any(fake.running for fake in made)
