"""Every limit holds against a function that does its worst, and only that function feels it."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sandbox.conftest import Spawner
from tests.sandbox.inside import Failed, run, start

from bento.errors import HostError
from bento.sandbox import IMAGES, MIB, Sandbox, tree
from bento.sandbox.layers import io_priority

USUAL = IMAGES["python"].limits

MEMORY_HOG = """
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))
"""


async def test_a_fork_bomb_stops_at_the_limit(spawner: Spawner) -> None:
    sandbox, neighbour = await spawner(limits=replace(USUAL, pids=16)), await spawner()
    code = """
        import os, time
        children = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(1000)
                children += 1
        except OSError as error:
            result = (children, error.errno)
    """
    children, error = await run(sandbox, code)
    assert error == 11  # EAGAIN
    assert 14 <= children <= 16
    assert await run(neighbour, "import os\nresult = os.fork() or os._exit(0)") > 0


async def test_threads_count_as_processes(spawner: Spawner) -> None:
    sandbox = await spawner(limits=replace(USUAL, pids=16))
    code = """
        import _thread, time
        result = 0
        try:
            while True:
                _thread.start_new_thread(time.sleep, (1000,))
                result += 1
        except RuntimeError:
            pass
    """
    assert 14 <= await run(sandbox, code) <= 16


async def test_a_memory_hog_is_ended_inside_and_nobody_else(spawner: Spawner) -> None:
    sandbox, neighbour = await spawner(), await spawner()
    with pytest.raises((EOFError, Failed)):  # killed, or told MemoryError
        await run(sandbox, MEMORY_HOG)
    assert await run(neighbour, "result = len(bytearray(16 << 20))") == 16 * MIB


@pytest.mark.parametrize(
    "hoard",
    [
        "file = os.memfd_create('hoard'); os.write(file, bytes(1 << 20))",
        "keep.append(mmap.mmap(-1, 1 << 20)); keep[-1].write(bytes(1 << 20))",
        "open(f'/tmp/{len(keep)}', 'wb').write(bytes(1 << 20)); keep.append(None)",
        "keep.append(pipe()); os.write(keep[-1][1], bytes(1 << 20))",
    ],
    ids=["memory files", "shared memory", "the disk", "pipes"],
)
async def test_memory_by_other_names_counts_too(spawner: Spawner, hoard: str) -> None:
    sandbox = await spawner(limits=replace(USUAL, open_files=1024, disk=1024 * MIB))
    code = f"""
        import fcntl, mmap, os
        def pipe():
            ends = os.pipe()
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
            os.set_blocking(ends[1], False)
            return ends
        keep = []
        while True:
            {hoard}
    """
    with pytest.raises((EOFError, Failed)):
        await run(sandbox, code)


async def test_a_full_disk_says_so_and_can_be_emptied(sandbox: Sandbox) -> None:
    code = """
        import os
        written = 0
        try:
            with open("/tmp/full", "wb", 0) as file:
                while True:
                    written += file.write(bytes(1 << 16))
        except OSError as error:
            number = error.errno
        os.unlink("/tmp/full")
        open("/tmp/again", "wb").write(bytes(1 << 20))
        result = (number, written)
    """
    number, written = await run(sandbox, code)
    assert number == 28  # ENOSPC
    assert USUAL.disk - MIB <= written <= USUAL.disk


async def test_files_are_counted(sandbox: Sandbox) -> None:
    code = """
        result = 0
        try:
            while True:
                open(f"/tmp/{result}", "w").close()
                result += 1
        except OSError as error:
            assert error.errno == 28
    """
    assert USUAL.inodes - 10 <= await run(sandbox, code) <= USUAL.inodes


async def test_descriptors_are_counted(sandbox: Sandbox) -> None:
    code = """
        import os
        result = 0
        try:
            while True:
                os.dup(3)
                result += 1
        except OSError as error:
            assert error.errno == 24
    """
    assert await run(sandbox, code) < USUAL.open_files


async def test_processes_share_the_cpu_limit(spawner: Spawner) -> None:
    sandbox = await spawner(limits=replace(USUAL, cpu=0.3))
    await start(sandbox, "import os; os.fork(); os.fork()\nwhile True: pass")
    await asyncio.sleep(0.3)  # the quota of the first period is used up
    before, since = sandbox.usage(), time.monotonic()
    await asyncio.sleep(1.5)
    used, passed = sandbox.usage().cpu - before.cpu, time.monotonic() - since
    if sandbox.level == "cgroup":
        assert used <= 0.3 * passed + 0.1
    assert used > 0


async def test_tor_goes_first(sandbox: Sandbox) -> None:
    """For the cpu and the disks, and when the machine runs out of memory; children are no better."""
    child = await run(sandbox, "import os, time; result = os.fork() or time.sleep(1000)")
    assert child > 0
    pids = list(tree.descendants(sandbox.pid))
    assert len(pids) == 2
    for pid in pids:
        assert os.getpriority(os.PRIO_PROCESS, pid) == 10
        assert io_priority(pid) == 2 << 13 | 7  # best effort, the last level
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


async def test_a_crash_leaves_no_core(sandbox: Sandbox) -> None:
    code = "import resource; result = resource.getrlimit(resource.RLIMIT_CORE)"
    assert await run(sandbox, code) == (0, 0)


async def test_limits_can_be_changed_while_it_runs(spawner: Spawner) -> None:
    sandbox = await spawner(limits=replace(USUAL, memory=32 * MIB))
    sandbox.set_limits(replace(USUAL, memory=128 * MIB))
    assert await run(sandbox, "x = bytearray(64 << 20); result = len(x)") == 64 * MIB
    sandbox.set_limits(replace(USUAL, memory=128 * MIB, pids=4))
    with pytest.raises(Failed, match="BlockingIOError"):
        await run(sandbox, "import os, time\nwhile True:\n    os.fork() or time.sleep(1000)")


async def test_the_disk_grows_and_shrinks_where_the_machine_lets_us(sandbox: Sandbox) -> None:
    space = "import os; info = os.statvfs('/tmp'); result = (info.f_blocks * 4096, info.f_files)"
    larger = replace(USUAL, disk=2 * USUAL.disk, inodes=100)
    if not sandbox.can_take(larger):
        with pytest.raises(HostError):
            sandbox.set_limits(larger)
        return
    sandbox.set_limits(larger)
    assert await run(sandbox, space) == (larger.disk, larger.inodes)
    await run(sandbox, "open('/tmp/some', 'wb').write(bytes(1 << 20))")
    with pytest.raises(HostError):
        sandbox.set_limits(replace(larger, disk=MIB // 2))


async def test_use_is_measured(sandbox: Sandbox) -> None:
    before = sandbox.usage()
    await run(sandbox, "keep = b'x' * (20 << 20); sum(range(1_000_000))")
    after = sandbox.usage()
    assert after.cpu > before.cpu
    assert after.memory >= before.memory + 19 * MIB


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="pids"):
        replace(USUAL, pids=0)
