"""R7: `kill -9` of bentod at any moment, at each write and sync of its journal above all. Nothing
acknowledged is lost, nothing shut down or spent lives again, nothing is left behind.

A round: a bentod that will be killed at one chosen point, users who install, call, detach and shut
down; then a bentod that finds what is left, and must agree with what the users were told.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
from tests.crash.faults import KILL, Faults
from tests.crash.process_box import process_box
from tests.waiting import until

from bento.errors import BentoError, BoxError
from bento.protocol.caveats import Uses

MEMORY = b"""
kept = []
def main(api, word=""):
    if word == "wait":
        api.send(b"first ")
        return api.recv() + b" last"
    if word != "once":
        kept.append(word)
    return " ".join(kept)
"""
# Calls on the journal in a round, at least: 5 (20 for a new one) when it is opened, and the users' own.
CALLS, CALLS_OF_A_NEW_ONE = 24, 40
SLOWEST = 30  # times as long as `bare_start`; 6 are usual, idle or busy


@dataclass
class Told:
    """What users were told by a box before it died."""

    installed: list = field(default_factory=list)
    answers: dict = field(default_factory=dict)  # instance number -> its last answer
    detached: list = field(default_factory=list)  # (instance number, session)
    spent: list = field(default_factory=list)  # (instance number, a ticket that had one use)
    asked_to_end: set = field(default_factory=set)
    ended: set = field(default_factory=set)


async def call(instance, word):
    session = await instance.invoke(word)
    await session.close_input()
    return (await session.read()).decode()


async def use(box, told):
    """What users do, until it is done or the box dies."""
    box.persistence = 0.0
    with contextlib.suppress(BentoError, OSError):
        for number in range(3):
            told.installed.append(await box.box.install(MEMORY))
            told.answers[number] = await call(told.installed[number], "a")
            session = await told.installed[number].invoke("wait")
            await session.started()
            told.detached.append((number, session.name))
            await session.detach()
            once = told.installed[number].ticket.narrow(Uses(secrets.token_bytes(8), 1))
            await call(box.box.instance(once), "once")
            told.spent.append((number, once))
        box.look()
        told.asked_to_end.add(0)
        await told.installed[0].shutdown()
        told.ended.add(0)


async def check(box, told):
    """A bentod that started afterwards agrees with all of it."""
    box.look()
    for number, instance in enumerate(told.installed):
        if number in told.ended:
            with pytest.raises(BoxError, match="no such token"):
                await call(instance, "b")
        elif number not in told.asked_to_end:
            before = told.answers.get(number)
            answer = await call(instance, "b")
            assert answer == "a b" if before else answer in ("b", "a b")
    for number, name in told.detached:
        if number not in told.asked_to_end:
            session = await box.box.attach(name)
            await session.send(b"middle")
            assert await session.read() == b"first middle last"
    for number, once in told.spent:
        if number not in told.asked_to_end:
            with pytest.raises(BoxError, match="uses are spent"):
                await call(box.box.instance(once), "once")
    for number in told.asked_to_end - told.ended:  # done once, or not at all
        with contextlib.suppress(BoxError):
            await told.installed[number].shutdown()
        with pytest.raises(BoxError, match="no such token"):
            await call(told.installed[number], "b")


@contextlib.asynccontextmanager
async def faulty(box, plan):
    """A start whose journal's calls are asked about."""
    faults = Faults(str(box.state / "journal"), plan)
    socket = faults.theirs.fileno()
    launcher = ("-m", "tests.crash.launch", str(socket))
    box.spawn(*launcher, pass_fds=(socket,))
    try:
        await faults.attend(box.process.pid)
        yield faults
    finally:
        faults.close()


async def ready_or_dead(box):
    await until(lambda: (box.run / "ready").exists() or box.process.poll() is not None, 0.005)


async def killed_at(box, point):
    """A round: killed at the journal's call number `point`. Seconds until the next bentod was ready."""
    told = Told()
    async with faulty(box, lambda _: KILL if len(faults.calls) == point else 0) as faults:
        await ready_or_dead(box)
        await use(box, told)
        if box.process.poll() is None:  # beyond the last call
            await box.end(signal.SIGKILL)
        await asyncio.to_thread(box.process.wait)
    return await survived(box, told)


async def killed_after(box, seconds):
    """A round: killed after this time, whatever it does then."""
    told = Told()
    box.spawn()
    using = asyncio.create_task(_ready_and_used(box, told))
    await asyncio.sleep(seconds)
    box.look()
    box.process.kill()
    await asyncio.to_thread(box.process.wait)
    await using
    return await survived(box, told)


async def _ready_and_used(box, told):
    await ready_or_dead(box)
    await use(box, told)


def bare_start():
    """Seconds that this machine takes now for a Python with what bentod cannot do without."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import asyncio, sqlite3"], check=True)
    return time.monotonic() - began


async def survived(box, told):
    seconds = await box.start()
    await check(box, told)
    await box.end(signal.SIGINT)
    await until(lambda: box.left() == [])
    return seconds


async def test_r7_a_kill_at_a_write_or_sync_of_the_journal_loses_nothing():
    times, bare = [], []
    async with process_box() as box:
        await box.start()
        await box.end(signal.SIGINT)
        for point in range(2, CALLS, 4):
            bare.append(bare_start())
            times.append(await killed_at(box, point))
    assert statistics.median(times) < SLOWEST * statistics.median(bare)


async def test_r7_a_kill_at_any_moment_loses_nothing():
    async with process_box() as box:
        for _ in range(3):
            await killed_after(box, random.uniform(0.3, 1.2))


@pytest.mark.campaign
async def test_r7_kill_anywhere_200_times(capsys):
    times, bare = [], []
    async with process_box() as box:
        for point in range(1, CALLS_OF_A_NEW_ONE):
            bare.append(bare_start())
            for file in box.state.glob("journal.db*"):
                file.unlink()
            times.append(await killed_at(box, point))
        for point in range(1, CALLS):
            bare.append(bare_start())
            times.append(await killed_at(box, point))
        points = len(times)
        while len(times) < 200:
            times.append(await killed_after(box, random.uniform(0.0, 1.5)))
    with capsys.disabled():
        print(
            f"\nR7: {len(times)} kills, {points} of them at calls on the journal; ready again after"
            f" {statistics.median(times):.2f} s (median), {max(times):.2f} s at most; a bare Python after"
            f" {statistics.median(bare):.2f} s, {max(bare):.2f} s at most"
        )
