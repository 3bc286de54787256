"""However a sandbox ends, nothing of it is left."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sandbox.conftest import Spawner
from tests.sandbox.inside import blob, run, start
from tests.sandbox.leftovers import Traces, mounts, open_descriptors

from bento.errors import HostError
from bento.sandbox import IMAGES, Limits, Sandbox, spawn
from bento.sandbox.cgroup import Group
from bento.sandbox.hierarchies import ours

USUAL = IMAGES["python"].limits


async def test_nothing_is_left_after_a_kill(spawner: Spawner) -> None:
    await (await spawner()).kill()  # what stays for good (the jailer) is there from the first
    descriptors, seen = open_descriptors(), mounts()
    sandbox = await spawner()
    traces = Traces(sandbox)
    assert len(traces.left) >= 3
    await sandbox.kill()
    sandbox.close()
    assert traces.left == []
    assert (open_descriptors(), mounts()) == (descriptors, seen)


async def test_a_kill_is_harmless_the_second_time(sandbox: Sandbox) -> None:
    await asyncio.gather(sandbox.kill(), sandbox.kill())
    await sandbox.kill()


async def test_daemons_end_with_it(sandbox: Sandbox) -> None:
    code = """
        import os, time
        for _ in range(5):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(1000)
                os._exit(0)
    """
    await run(sandbox, code)
    group = _processes_of(sandbox)
    assert len(group) >= 6
    await sandbox.kill()
    assert not [pid for pid in group if _is_alive(pid)]


async def test_signals_from_inside_do_not_end_it(sandbox: Sandbox) -> None:
    code = """
        import os
        child = os.fork()
        if child == 0:
            for number in (9, 15, 19):
                os.kill(1, number)
            os._exit(0)
        result = os.waitpid(child, 0)[1]
    """
    assert await run(sandbox, code) == 0


FORK_BOMB = """
    import os
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""


async def test_a_fork_bomb_under_a_quota_ends_whole(spawner: Spawner) -> None:
    sandbox = await spawner(limits=replace(USUAL, cpu=0.1, pids=64))
    await start(sandbox, FORK_BOMB)
    await asyncio.sleep(0.3)
    traces = Traces(sandbox)
    await sandbox.kill()
    assert traces.left == []


async def test_no_quota_holds_up_the_end_of_a_fork_bomb(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies without one. How fast is a figure of the benchmarks: it hangs on what else the machine
    does."""
    quotas: list[str] = []
    remove = Group.remove

    async def noting(group: Group) -> None:
        for hierarchy in ours():
            if "cpu" in hierarchy.controllers:
                file = {1: "cpu.cfs_quota_us", 2: "cpu.max"}[hierarchy.version]
                quotas.append((hierarchy.base / group.name / file).read_text().split()[0])
        await remove(group)

    monkeypatch.setattr(Group, "remove", noting)
    sandbox = await spawner(limits=replace(USUAL, cpu=0.1, pids=64))
    await start(sandbox, FORK_BOMB)
    await asyncio.sleep(0.3)
    await sandbox.kill()
    assert quotas or not ours()
    assert set(quotas) <= {"-1", "max"}


@pytest.mark.parametrize("death", ["os._exit(3)", "ctypes.string_at(0)", "os.close(3); os.abort()"])
async def test_one_that_ends_by_itself_is_cleared_up_too(sandbox: Sandbox, death: str) -> None:
    traces = Traces(sandbox)
    await start(sandbox, f"import ctypes, os; {death}")
    await sandbox.exited
    assert traces.left == []
    assert not sandbox.alive


async def test_one_whose_memory_ran_out_is_cleared_up_too(sandbox: Sandbox) -> None:
    traces = Traces(sandbox)
    await start(sandbox, "hoard = [bytearray(1 << 20) for _ in range(1000)]")
    await sandbox.exited
    assert traces.left == []


async def test_one_whose_supervisor_was_killed_can_still_be_ended(sandbox: Sandbox) -> None:
    traces = Traces(sandbox)
    supervisor = int(Path(f"/proc/{sandbox.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, 9)
    await sandbox.kill()
    assert [trace for trace in traces.left if not trace.startswith("process")] == []


# -- a start that fails -----------------------------------------------------------------------------


BROKEN = {
    "a runtime that raises": (blob("raise ValueError('no such thing')"), "ValueError: no such"),
    "a runtime that ends": (blob("raise SystemExit"), "ended before it was ready"),
    "no runtime at all": (b"not a code object", "bad marshal data"),
}


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the control groups that the test makes."""
    made: list[Path] = []
    create = Group.create

    def noted(name: str, limits: Limits) -> Group:
        made.extend(hierarchy.base / name for hierarchy in ours())
        return create(name, limits)

    monkeypatch.setattr(Group, "create", noted)
    return made


@pytest.mark.parametrize("guest", BROKEN)
async def test_a_failed_start_says_why_and_leaves_nothing(
    folder: Path, guest: str, groups: list[Path]
) -> None:
    image = IMAGES["python"]
    source, reason = BROKEN[guest]
    with pytest.raises(HostError):
        await spawn(image, image.limits, folder, "warm", b"")
    descriptors = open_descriptors()
    with pytest.raises(HostError, match=reason):
        await spawn(image, image.limits, folder, "broken", source)
    assert open_descriptors() == descriptors
    assert list(folder.iterdir()) == []
    assert not [path for path in groups if path.exists()]


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, 0.006, 0.01, 0.02])
async def test_a_start_that_is_given_up_leaves_nothing(
    folder: Path, delay: float, groups: list[Path]
) -> None:
    image = IMAGES["python"]
    deaf = blob("import time; time.sleep(1000)")
    task = asyncio.create_task(spawn(image, image.limits, folder, "given-up", deaf))
    await asyncio.sleep(delay)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []
    assert not [path for path in groups if path.exists()]


async def test_two_of_one_name_are_refused(spawner: Spawner, folder: Path) -> None:
    first = await spawner()
    image = IMAGES["python"]
    with pytest.raises(HostError):
        await spawn(image, image.limits, folder, first.instance_id, blob())
    assert await run(first, "result = 1") == 1
    assert first.socket_path.exists()


def _processes_of(sandbox: Sandbox) -> list[int]:
    space = os.readlink(f"/proc/{sandbox.pid}/ns/pid")
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "ns/pid") == space:
                found.append(int(path.name))
        except OSError:
            pass
    return found


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
