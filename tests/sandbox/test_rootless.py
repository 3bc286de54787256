"""An ordinary user, with no control groups given to him, gets the same jail and the level "rlimit"."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOM = HERE.parents[1] / "src/bento"
NOBODY = 65534
_AS_NOBODY = [*("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"), "--"]

_PROGRAM = """
import asyncio, json, os, shutil, sys, tempfile
from dataclasses import replace
from pathlib import Path

from bento.errors import HostError
from bento.sandbox import IMAGES, MIB, Pool, Sandbox, spawn
from chromium import CHROMIUM
from inside import Failed, answer, blob, run, start

PYTHON = IMAGES["python"]

async def main():
    folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
    try:
        made = []
        async def make(image="python", **limits):
            row = IMAGES[image]
            made.append(await spawn(row, replace(row.limits, **limits), folder, str(len(made)), blob()))
            return made[-1]
        result = await case(make, folder)
        for sandbox in made:
            await sandbox.kill()
            sandbox.close()
        print(json.dumps({"result": result, "left": os.listdir(folder)}))
    finally:
        shutil.rmtree(folder)
"""


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    """The room's files where anybody can read them."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-rootless-", dir="/tmp"))
    (folder / "bento").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOM / name, folder / "bento")
    shutil.copytree(ROOM / "sandbox", folder / "bento/sandbox", ignore=lambda *_: ["__pycache__"])
    for name in ("inside.py", "chromium.py"):
        shutil.copy(HERE / name, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


def as_nobody(copy: Path, case: str, group: Path | None = None) -> Any:
    """Runs `async def case(make, folder)` as an ordinary user, in a control group if one is given;
    what it returned."""
    program = f"{_PROGRAM}\nasync def case(make, folder):\n{case}\nasyncio.run(main())\n"
    command = [*(_AS_NOBODY if os.geteuid() == 0 else []), "/usr/bin/python3", "-"]
    if group:
        command = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        input=program,  # no argument: those are searched for conclaves' secrets
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["left"] == []
    return answer["result"]


def test_it_says_what_it_cannot_enforce(copy: Path) -> None:
    case = """
    sandbox = await make()
    return [sandbox.level, await run(sandbox, "import os; result = os.getuid()")]
"""
    assert as_nobody(copy, case) == ["rlimit", 1000]


def test_each_sandbox_has_its_own_number_of_processes(copy: Path) -> None:
    """Though all are the same user's outside."""
    case = '''
    bomb = """
        import os, time
        result = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(1000)
                result += 1
        except OSError:
            pass
    """
    return [await run(await make(pids=10), bomb) for _ in range(3)]
'''
    assert as_nobody(copy, case) in ([8, 8, 8], [9, 9, 9])


def test_memory_is_bounded_and_has_no_other_names(copy: Path) -> None:
    case = '''
    sandbox = await make()
    hoard = """
        keep, result = [], 0
        try:
            while True:
                keep.append({})
                result += 1
        except (MemoryError, OSError) as error:
            keep.clear()
    """
    found = [await run(sandbox, "import mmap, os")]
    for what in ("bytearray(1 << 20)", "mmap.mmap(-1, 1 << 20)", "os.memfd_create('x')"):
        found.append(await run(sandbox, hoard.format(what)))
    return found
'''
    _, heap, shared, files = as_nobody(copy, case)
    assert 40 <= heap <= 64
    assert 40 <= shared <= 64
    assert files == 0


def test_the_disk_is_bounded_in_bytes_and_files(copy: Path) -> None:
    case = '''
    sandbox = await make(disk=2 << 20, inodes=50)
    return await run(sandbox, """
        import os
        info = os.statvfs("/tmp")
        result = [info.f_blocks * info.f_frsize, info.f_files]
    """)
'''
    assert as_nobody(copy, case) == [2 << 20, 50]


def test_limits_can_change_where_the_kernel_allows(copy: Path) -> None:
    case = """
    sandbox = await make()
    sandbox.set_limits(replace(sandbox.limits, pids=5))
    try:
        await run(sandbox, "import os, time\\nfor _ in range(9): os.fork() or time.sleep(1000)")
    except Failed as error:
        return [str(error)[:15], sandbox.can_take(replace(sandbox.limits, disk=1 << 20))]
"""
    assert as_nobody(copy, case) == ["BlockingIOError", False]


def test_a_pool_works_and_a_kill_is_whole(copy: Path) -> None:
    case = """
    pool = Pool(PYTHON, 2, run_dir=folder, guest_blob=blob())
    await pool.full()
    sandbox = await pool.take()
    await run(sandbox, "import os, time\\nfor _ in range(2): os.fork() or time.sleep(1000)")
    used = sandbox.usage()
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and same_space(pid, sandbox.pid)]
    await sandbox.kill()
    sandbox.close()
    await pool.close()
    return [len(pids), used.memory > 1 << 20, [pid for pid in pids if os.path.exists("/proc/" + pid)]]

def same_space(pid, other):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{other}/ns/pid")
    except OSError:
        return False
"""
    assert as_nobody(copy, case) == [3, True, []]


def test_a_start_that_is_given_up_leaves_no_process(copy: Path) -> None:
    """There is no group to find it by: its supervisor's children are."""
    case = """
    deaf = blob("import time; time.sleep(1000)")
    for number in range(12):
        task = asyncio.create_task(spawn(PYTHON, PYTHON.limits, folder, f"x{number}", deaf))
        await asyncio.sleep(number / 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    mine = []
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.stat("/proc/" + pid).st_uid == os.getuid():
                mine.append(open(f"/proc/{pid}/cmdline").read())
        except OSError:
            pass
    return [command for command in mine if command.startswith("/usr/bin/bwrap")]
"""
    assert as_nobody(copy, case) == []


def test_processes_share_the_cpu_limit(copy: Path) -> None:
    case = """
    sandbox = await make(cpu=0.3)
    await start(sandbox, "import os; os.fork(); os.fork()\\nwhile True: pass")
    await asyncio.sleep(1)
    import time
    before, since = sandbox.usage().cpu, time.monotonic()
    await asyncio.sleep(4)
    return sandbox.usage().cpu - before, time.monotonic() - since
"""
    used, passed = as_nobody(copy, case)
    assert 0 < used <= 0.3 * passed * 1.5


def test_processes_share_the_memory_limit(copy: Path) -> None:
    """Each stays below what one process may have; together they are too much."""
    case = '''
    sandbox, neighbour = await make(), await make()
    await start(sandbox, """
        import os, time
        for _ in range(6):
            if os.fork() == 0:
                keep = b"x" * (24 << 20)
                time.sleep(1000)
        time.sleep(1000)
    """)
    await sandbox.exited
    return await run(neighbour, "result = 'alive'")
'''
    assert as_nobody(copy, case) == "alive"


def test_a_stopped_sandbox_can_be_ended(copy: Path) -> None:
    case = """
    sandbox = await make(cpu=0.01)
    await start(sandbox, "while True: pass")
    await asyncio.sleep(0.5)
    await sandbox.kill()
    return sandbox.alive
"""
    assert as_nobody(copy, case) is False


def test_chromium_runs_with_its_own_sandbox_here_too(copy: Path) -> None:
    case = """
    sandbox = await make("browser")
    await run(sandbox, CHROMIUM)
    await run(sandbox, "page = chromium.open('data:text/html,<title>ok</title>')")
    code = "chromium.call('Runtime.evaluate', page, expression='1 + 1')['result']['value']"
    return [await run(sandbox, "result = " + code), sandbox.usage().memory > 50 << 20]
"""
    assert as_nobody(copy, case) == [2, True]


def test_a_user_to_whom_a_group_was_delegated_gets_all_limits(copy: Path) -> None:
    """As systemd does with Delegate=yes. Only where version 2 has the controllers."""
    top = Path("/sys/fs/cgroup")
    if os.geteuid() != 0 or not (top / "cgroup.controllers").exists():
        return  # nobody can delegate here; version 1 cannot be delegated safely
    (top / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    given = top / "test-delegated"
    given.mkdir()
    for path in (given, given / "cgroup.procs", given / "cgroup.subtree_control"):
        os.chown(path, NOBODY, NOBODY)
    case = """
    sandbox = await make()
    try:
        await run(sandbox, "keep = bytearray(200 << 20)")
    except EOFError:
        pass
    return [sandbox.level, (await make()).usage().memory > 0]
"""
    try:
        assert as_nobody(copy, case, group=given) == ["cgroup", True]
    finally:
        for path in (*given.glob("*/"), given):
            path.rmdir()
