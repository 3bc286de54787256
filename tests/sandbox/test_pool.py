"""A pool hands out ready, live, unused sandboxes; its close leaves nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sandbox.inside import Failed, blob, run
from tests.sandbox.leftovers import Traces, is_running

from bento.errors import HostError, UsageError
from bento.sandbox import IMAGES, MIB, Pool, Sandbox

PYTHON = IMAGES["python"]


@pytest.fixture
async def pool(folder: Path) -> AsyncIterator[Pool]:
    pool = Pool(PYTHON, 2, run_dir=folder, guest_blob=blob())
    yield pool
    await pool.close()


@pytest.fixture
async def taken() -> AsyncIterator[list[Sandbox]]:
    """What a test takes is put here, and ends with it."""
    sandboxes: list[Sandbox] = []
    yield sandboxes
    for sandbox in sandboxes:
        await sandbox.kill()
        sandbox.close()


async def test_a_taken_sandbox_waited_ready_and_is_replaced(
    pool: Pool, taken: list[Sandbox]
) -> None:
    await pool.full()
    waiting = _pids(pool)
    taken.append(await pool.take())
    assert taken[0].pid in waiting
    assert await run(taken[0], "result = 6 * 7") == 42
    await pool.full()
    assert len(_pids(pool)) == 2 and taken[0].pid not in _pids(pool)


async def test_a_sandbox_is_handed_out_once(pool: Pool, taken: list[Sandbox]) -> None:
    await pool.full()
    taken += await asyncio.gather(*(pool.take() for _ in range(5)))
    assert len({sandbox.pid for sandbox in taken}) == 5


async def test_what_is_taken_has_the_limits_that_were_asked_for(
    pool: Pool, taken: list[Sandbox]
) -> None:
    await pool.full()
    waiting = _pids(pool)
    small = replace(PYTHON.limits, memory=32 * MIB, pids=8, cpu=0.25)
    taken.append(await pool.take(small))
    assert taken[0].pid in waiting and taken[0].limits == small
    with pytest.raises((EOFError, Failed)):
        await run(taken[0], "x = bytearray(64 << 20)")


async def test_limits_that_no_waiting_sandbox_can_have_start_a_new_one(
    pool: Pool, taken: list[Sandbox]
) -> None:
    await pool.full()
    waiting = _pids(pool)
    many = replace(PYTHON.limits, open_files=512)
    taken.append(await pool.take(many))
    assert taken[0].pid not in waiting and taken[0].limits == many
    assert _pids(pool) == waiting


async def test_an_empty_pool_starts_one(pool: Pool, taken: list[Sandbox]) -> None:
    taken.append(await pool.take())
    assert await run(taken[0], "result = 1") == 1


async def test_one_that_died_waiting_is_never_handed_out(pool: Pool, taken: list[Sandbox]) -> None:
    await pool.full()
    victims = _pids(pool)
    for pid in victims:
        os.kill(pid, 9)
    while any(Path(f"/proc/{pid}").exists() for pid in victims):
        time.sleep(0.01)  # not by the event loop: it must not have been told yet
    taken.append(await pool.take())
    assert taken[0].pid not in victims
    assert await run(taken[0], "result = 1") == 1
    await pool.full()
    assert not _pids(pool) & victims


async def test_closing_ends_what_waits_and_leaves_what_was_taken(folder: Path) -> None:
    pool = Pool(PYTHON, 3, run_dir=folder, guest_blob=blob())
    await pool.full()
    kept = await pool.take()
    await pool.full()
    traces = [Traces(sandbox) for sandbox in pool._ready]
    await pool.close()
    assert [trace.left for trace in traces] == [[], [], []]
    assert await run(kept, "result = 1") == 1
    with pytest.raises(UsageError):
        await pool.take()
    await kept.kill()
    kept.close()
    assert list(folder.iterdir()) == []


async def test_closing_while_it_fills_leaves_nothing(folder: Path) -> None:
    for pause in (0, 0.021, 0.024, 0.03):
        pool = Pool(PYTHON, 3, run_dir=folder, guest_blob=blob())
        pool.start()
        await asyncio.sleep(pause)
        await pool.close()
        assert list(folder.iterdir()) == []


async def test_a_pool_that_cannot_fill_says_why(folder: Path) -> None:
    pool = Pool(PYTHON, 1, run_dir=folder, guest_blob=blob("raise OSError('out of luck')"))
    with pytest.raises(HostError, match="out of luck"):
        await pool.full()
    with pytest.raises(HostError, match="out of luck"):
        await pool.take()
    await pool.close()
    assert list(folder.iterdir()) == []


async def test_a_jailer_that_was_killed_is_started_again(pool: Pool, taken: list[Sandbox]) -> None:
    from bento.sandbox import launch

    taken.append(await pool.take())
    assert launch._current is not None
    os.kill(launch._current._process.pid, 9)
    launch._current._process.wait()
    taken.append(await pool.take())
    for sandbox in taken:
        assert await run(sandbox, "result = 1") == 1


def _pids(pool: Pool) -> set[int]:
    return {sandbox.pid for sandbox in pool._ready}


async def test_behind_an_empty_pool_stands_a_jail(folder: Path, taken: list[Sandbox]) -> None:
    pool = Pool(PYTHON, 0, run_dir=folder, guest_blob=blob())
    await pool.full()
    assert pool._spare is not None and pool._spare.alive
    standing = pool._spare._process
    small = replace(PYTHON.limits, memory=32 * MIB, disk=MIB)
    taken.append(await pool.take(small))
    assert standing is not None and taken[0].pid == standing.pid
    assert taken[0].limits == small
    assert await run(taken[0], "result = 1") == 1
    await pool.close()


async def test_a_standing_jail_that_died_is_never_entered(
    folder: Path, taken: list[Sandbox]
) -> None:
    pool = Pool(PYTHON, 0, run_dir=folder, guest_blob=blob())
    await pool.full()
    assert pool._spare is not None and pool._spare._process is not None
    os.kill(pool._spare._process.pid, 9)
    taken.append(await pool.take())
    assert await run(taken[0], "result = 1") == 1
    await pool.full()
    assert pool._spare.alive
    await pool.close()
    assert [path.name for path in folder.iterdir()] == [taken[0].socket_path.name]


async def test_closing_demolishes_the_standing_jail(folder: Path) -> None:
    pool = Pool(PYTHON, 0, run_dir=folder, guest_blob=blob())
    await pool.full()
    assert pool._spare is not None and pool._spare._process is not None
    pid = pool._spare._process.pid
    await pool.close()
    assert not is_running(pid)
