"""Every runtime keeps the same promises: what a function finds, what bounds it, how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sandbox.inside import Failed, blob, run, start
from tests.sandbox.leftovers import mounts, open_descriptors
from tests.waiting import until

from bento.errors import HostError, UsageError
from bento.sandbox import (
    IMAGES,
    MIB,
    Limits,
    Pool,
    Runtime,
    Sandbox,
    check,
    hierarchies,
    runtime_named,
    spawn,
)
from bento.sandbox.process import user

PYTHON = IMAGES["python"]
USUAL = PYTHON.limits
Maker = Callable[..., Awaitable[Sandbox]]


@pytest.fixture(params=["crun", "runsc", pytest.param("runc", marks=pytest.mark.campaign)])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return runtime_named(request.param)


@pytest.fixture
async def make(runtime: Runtime, folder: Path) -> AsyncIterator[Maker]:
    made: list[Sandbox] = []

    async def one(limits: Limits = USUAL) -> Sandbox:
        name = f"test{folder.name[-8:]}{len(made)}"
        made.append(await spawn(PYTHON, limits, folder, name, blob(), runtime))
        return made[-1]

    yield one
    for sandbox in made:
        await sandbox.kill()
        sandbox.close()


async def test_what_a_function_finds(make: Maker, runtime: Runtime) -> None:
    null = os.stat("/dev/null")
    sandbox = await make()
    code = """
        import os, sys
        def attempt(*call):
            try:
                call[0](*call[1:])
            except OSError:
                return "refused"
        result = dict(
            who=(os.getresuid(), os.getresgid()),
            name=os.uname().nodename,
            folders=sorted(set(os.listdir("/")) - {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "sys"}),
            etc=sorted(os.listdir("/etc")),
            disk=os.listdir("/tmp") + os.listdir("/usr/local"),
            environment=sorted(set(os.environ) - {"PWD", "LC_CTYPE", "TERM"}),
            words=" ".join(sys.orig_argv[:4]),
            written={
                attempt(os.open, path, os.O_WRONLY | os.O_CREAT)
                for path in ("/new", "/usr/new", "/usr/local/new", "/etc/passwd", "/etc/new")
            },
            null={attempt(os.chmod, what, 0o600) for what in (0, 1, "/dev/null")} if %r else {"refused"},
        )
    """
    found = await run(sandbox, code % (runtime.name != "runsc"))
    uid = runtime.uid
    assert found == {
        "who": ((uid, uid, uid), (uid, uid, uid)),
        "name": "bento",
        "folders": ["dev", "etc", "proc", "tmp", "usr"],
        "etc": ["group", "hosts", "passwd", "ssl"],
        "disk": [],
        "environment": ["HOME", "LANG", "PATH", "TZ"],
        "words": "/usr/bin/python3 -I -S -c",
        "written": {"refused"},
        "null": {"refused"},
    }
    after = os.stat("/dev/null")
    assert (null.st_mode, null.st_uid, null.st_gid) == (after.st_mode, after.st_uid, after.st_gid)


async def test_it_has_nothing_of_the_machines(make: Maker, runtime: Runtime) -> None:
    """A user of its own, no capability, a filter, namespaces; and nothing that was inherited."""
    sandbox = await make()
    if os.geteuid() == 0:
        assert 300_000 <= user(sandbox.pid) < 365_536
    lines = Path(f"/proc/{sandbox.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    # gVisor shows no process of the machine to a function, and keeps its own beside ours.
    for name in ("ipc", "mnt", "net", "user", "uts", *(() if runtime.carried else ("pid",))):
        ours, theirs = (os.readlink(f"/proc/{pid}/ns/{name}") for pid in ("self", sandbox.pid))
        assert ours != theirs, name
    if not runtime.carried:
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    code = """
        import os, stat
        def kind(number):
            try:
                mode = os.fstat(number).st_mode
            except OSError:
                return None
            return "socket" if stat.S_ISSOCK(mode) else "device" if stat.S_ISCHR(mode) else "file"
        result = {number: kind(number) for number in range(1024) if kind(number)}
    """
    theirs = await run(sandbox, "result = {egress.fileno(), door.fileno(), control.fileno()}")
    found = await run(sandbox, code)
    assert [found.pop(number) for number in (0, 1, 2, 4)] == ["device", "device", "file", "file"]
    assert set(found) == theirs


async def test_the_same_calls_are_refused(make: Maker) -> None:
    code = """
        import ctypes, errno
        libc = ctypes.CDLL(None, use_errno=True)
        def call(number):
            ctypes.set_errno(0)
            libc.syscall(number, -1, -1, -1, -1, -1, -1)
            return errno.errorcode[ctypes.get_errno()]
        result = {call(n) for n in (272, 308, 165, 166, 155, 161, 304, 101, 311, 321, 425, 323, 298, 59, 317)}
    """
    assert await run(await make(), code) == {"EPERM"}


async def test_limits_hold(make: Maker, runtime: Runtime) -> None:
    sandbox = await make(replace(USUAL, disk=2 * MIB, inodes=64, open_files=32))
    fill = """
        import os
        written = made = opened = 0
        try:
            with open("/tmp/full", "wb", 0) as file:
                while True:
                    written += file.write(bytes(1 << 14))
        except OSError as error:
            full = error.errno
        os.unlink("/tmp/full")
        try:
            while made < 1000:
                open(f"/tmp/{made}", "w").close()
                made += 1
        except OSError:
            pass
        keep = []
        try:
            while len(keep) < 1000:
                keep.append(os.dup(3))
        except OSError:
            pass
        opened = len(keep)
        for number in keep:
            os.close(number)
        result = (full, written, made, opened)
    """
    full, written, made, opened = await run(sandbox, fill)
    assert full == 28 and MIB <= written <= 2 * MIB  # ENOSPC
    assert made <= 64 and opened < 32
    hog = await make()
    with pytest.raises((EOFError, Failed)):
        await run(hog, "keep = [b'x' * (1 << 20) for _ in range(400)]")
    bomb = await make(replace(USUAL, pids=12))
    forks = """
        import os, time
        result = 0
        try:
            while result < 300:
                if os.fork() == 0:
                    time.sleep(1000)
                result += 1
        except OSError:
            pass
    """
    try:
        assert await run(bomb, forks) <= 12 + runtime.pids
    except EOFError:
        assert runtime.name == "runsc"  # its kernel gives up when it gets no more helpers
    assert await run(sandbox, "result = 'alive'") == "alive"


async def test_processes_share_the_cpu_limit(make: Maker) -> None:
    sandbox = await make(replace(USUAL, cpu=0.3))
    await start(sandbox, "import os; os.fork()\nwhile True: pass")
    await asyncio.sleep(0.5)
    clock = asyncio.get_running_loop().time
    before, since = sandbox.usage().cpu, clock()
    await asyncio.sleep(1)
    assert 0 < sandbox.usage().cpu - before <= 0.3 * (clock() - since) + 0.1


async def test_the_network_is_its_own_loopback_and_the_way_out(
    make: Maker, runtime: Runtime
) -> None:
    sandbox = await make()
    with socket.create_server(("127.0.0.1", 0)) as ours:
        code = f"""
            import socket
            def attempt(*address):
                with socket.socket() as one:
                    return one.connect_ex(address)
            result = [attempt("127.0.0.1", {ours.getsockname()[1]}), attempt("192.0.2.1", 80)]
        """
        refused, unreachable = await run(sandbox, code)
    assert refused == 111 and unreachable in (101, 113)
    many = """
        import socket
        for number in range(3):
            with socket.create_connection(("127.0.0.1", 1080)) as client:
                client.sendall(b"x" * 100_000)
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):
                    pass
    """
    await start(sandbox, many)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        accepted, _ = await loop.sock_accept(sandbox.egress_listener)
        with accepted:
            accepted.setblocking(False)
            got = 0
            while part := await loop.sock_recv(accepted, 1 << 16):
                got += len(part)
            assert got == 100_000


async def test_several_connections_come_in(make: Maker) -> None:
    sandbox = await make()
    code = """
        import _socket
        door.setblocking(True)
        result = []
        for _ in range(3):
            one = _socket.socket(fileno=door._accept()[0])
            got = b""
            while part := one.recv(1 << 16):
                got += part
            one.sendall(got[::-1])
            one.close()
    """
    await start(sandbox, code)
    for size in (1, 1000, 500_000):
        reader, writer = await asyncio.open_unix_connection(sandbox.socket_path)
        writer.write(b"a" + b"b" * size)
        writer.write_eof()
        assert await reader.read() == b"b" * size + b"a"
        writer.close()


async def test_nothing_is_left_however_it_ends(make: Maker, folder: Path) -> None:
    first = await make()  # what stays for good (the jailer) is there from the first
    await first.kill()
    first.close()
    descriptors, seen = open_descriptors(), mounts()
    for death in (
        "",
        "import os; os._exit(3)",
        "import os; os.fork(); os.fork()\nwhile True: pass",
    ):
        sandbox = await make()
        groups = [h.base / sandbox.record.group for h in hierarchies.ours()]
        pids = {pid for group in groups for pid in _processes(group)}
        assert sandbox.pid in pids
        if death:
            await start(sandbox, death)
        if "_exit" in death:
            await sandbox.exited
        await sandbox.kill()
        sandbox.close()
        assert not [group for group in groups if group.exists()]
        assert list(folder.iterdir()) == []
        await until(lambda pids=pids: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert (open_descriptors(), mounts()) == (descriptors, seen)


def _processes(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


async def test_a_pool_gives_what_is_asked_for(runtime: Runtime, folder: Path) -> None:
    pool = Pool(PYTHON, 1, run_dir=folder, guest_blob=blob(), runtime=runtime)
    try:
        await pool.full()
        for limits in (USUAL, replace(USUAL, disk=4 * MIB, memory=80 * MIB)):
            sandbox = await pool.take(limits)
            size = "import os; info = os.statvfs('/tmp'); result = info.f_blocks * info.f_bsize"
            assert await run(sandbox, size) == limits.disk
            await sandbox.kill()
            sandbox.close()
    finally:
        await pool.close()
    assert list(folder.iterdir()) == []


async def test_a_failed_start_says_why_and_leaves_nothing(runtime: Runtime, folder: Path) -> None:
    with pytest.raises(HostError, match="no such thing"):
        guest = blob("raise ValueError('no such thing')")
        await spawn(PYTHON, USUAL, folder, "broken", guest, runtime)
    assert list(folder.iterdir()) == []


async def test_without_control_groups_there_is_none(
    runtime: Runtime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hierarchies, "ours", tuple)
    with pytest.raises(HostError, match="needs control groups"):
        await spawn(PYTHON, USUAL, folder, "ungrouped", blob(), runtime)
    assert list(folder.iterdir()) == []


async def test_the_check_looks_at_it(runtime: Runtime, folder: Path) -> None:
    layers = {layer.name: layer for layer in await check(folder, blob(), runtime)}
    assert layers[runtime.name].present and layers["a sandbox starts"].present
    assert [name for name, layer in layers.items() if not layer.present] == []


def test_a_runtime_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=re.escape("'podman'")):
        runtime_named("podman")
