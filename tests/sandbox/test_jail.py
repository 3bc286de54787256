"""What a function finds inside, and what it does not. Each trap that a sandbox fell into is a test."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sandbox.conftest import Spawner
from tests.sandbox.inside import run

from bento.sandbox import Sandbox, launch

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# -- files ------------------------------------------------------------------------------------------


async def test_the_root_holds_the_machines_usr_and_little_else(sandbox: Sandbox) -> None:
    await run(sandbox, "import os")
    links = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
    assert set(await run(sandbox, "result = os.listdir('/')")) - links == {
        *("dev", "etc", "tmp", "usr")
    }
    assert set(await run(sandbox, "result = os.listdir('/etc')")) == {
        *("group", "hosts", "passwd", "ssl")
    }
    assert set(await run(sandbox, "result = os.listdir('/dev')")) == {
        *("null", "random", "shm", "urandom", "zero")
    }
    assert await run(sandbox, "result = os.listdir('/tmp') + os.listdir('/usr/local')") == []


@pytest.mark.parametrize(
    "path",
    ["/new", "/usr/new", "/usr/local/new", "/etc/passwd", "/etc/new", "/dev/new", "/dev/shm"],
)
async def test_nothing_can_be_written_but_the_private_disk(sandbox: Sandbox, path: str) -> None:
    code = f"""
        import os
        def attempt(*call):
            try:
                call[0](*call[1:])
            except OSError:
                return "refused"
        result = [
            attempt(os.open, {path!r}, os.O_WRONLY | os.O_CREAT),
            attempt(os.mkdir, {path!r} + "x"),
            attempt(os.unlink, {path!r}),
            attempt(os.rename, "/etc/hosts", {path!r}),
            attempt(os.chmod, "/etc/hosts", 0o777),
        ]
    """
    assert set(await run(sandbox, code)) == {"refused"}


async def test_the_private_disk_is_empty_and_shared_memory_lives_on_it(sandbox: Sandbox) -> None:
    code = """
        import os
        open("/tmp/a", "w").write("here")
        open("/dev/shm/b", "w").write("here")
        result = sorted(os.listdir("/tmp"))
    """
    assert await run(sandbox, code) == ["a", "b"]


async def test_a_function_finds_its_certificates_and_libraries(sandbox: Sandbox) -> None:
    code = """
        import ssl, sys
        sys.path.append("/usr/lib/python3/dist-packages")
        import requests
        result = len(ssl.create_default_context().get_ca_certs()) > 0
    """
    assert await run(sandbox, code) is True


async def test_there_is_no_proc(sandbox: Sandbox) -> None:
    assert await run(sandbox, "import os; result = os.path.exists('/proc')") is False


# -- devices and descriptors ------------------------------------------------------------------------


async def test_the_machines_dev_null_stays_as_it_was(sandbox: Sandbox) -> None:
    before = os.stat("/dev/null")
    code = """
        import os
        def attempt(*call):
            try:
                call[0](*call[1:])
            except OSError:
                return "refused"
        result = []
        for what in (0, 1, 2, "/dev/null", "/dev/zero", "/dev/urandom"):
            result += [attempt(os.chmod, what, 0o600), attempt(os.chown, what, 1000, 1000)]
            result += [attempt(os.utime, what, (0, 0))]
    """
    assert set(await run(sandbox, code)) == {"refused"}
    after = os.stat("/dev/null")
    assert (before.st_mode, before.st_uid, before.st_gid, before.st_mtime) == (
        *(after.st_mode, after.st_uid, after.st_gid, after.st_mtime),
    )


async def test_nothing_is_inherited_but_the_way_in_and_the_runtime(sandbox: Sandbox) -> None:
    code = """
        import os, stat
        def kind(number):
            try:
                mode = os.fstat(number).st_mode
            except OSError:
                return None
            return "socket" if stat.S_ISSOCK(mode) else "device" if stat.S_ISCHR(mode) else "file"
        found = {number: kind(number) for number in range(4096)}
        result = {number: what for number, what in found.items() if what}
    """
    theirs = await run(sandbox, "result = {egress.fileno(), door.fileno(), control.fileno()}")
    found = await run(sandbox, code)
    assert found.pop(0) == found.pop(1) == "device"
    assert found.pop(2) == found.pop(4) == "file"
    assert set(found) == theirs and set(found.values()) == {"socket"}
    assert 3 in theirs


async def test_the_inherited_files_take_no_more_once_the_guest_is_ready(sandbox: Sandbox) -> None:
    code = """
        import os
        def refused(change, *arguments):
            try:
                change(*arguments)
            except PermissionError:
                return True
        result = [refused(os.write, 2, b"x"), refused(os.pwrite, 4, b"x", 0), refused(os.truncate, 4, 0)]
    """
    assert await run(sandbox, code) == [True, True, True]


async def test_a_descriptor_of_ours_is_not_inherited_even_if_it_is_inheritable(
    spawner: Spawner,
) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        await spawner()
        os.close(writer)
        assert os.read(reader, 1) == b""  # the end: nobody else holds the writing end
    finally:
        os.close(reader)


@pytest.fixture
def started_in_the_background(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A jailer as after `nohup bentod &`: with signals ignored, and one blocked."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    jailer = launch.Jailer()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    monkeypatch.setattr(launch, "_current", jailer)
    yield
    jailer.close()


async def test_signals_are_as_any_program_expects_them(
    started_in_the_background: None, sandbox: Sandbox
) -> None:
    """What its starter ignored would stay ignored: then no child could be waited for."""
    code = """
        import signal
        numbers = signal.valid_signals()
        ignored = [int(n) for n in numbers if signal.getsignal(n) is signal.SIG_IGN]
        result = (ignored, signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    assert await run(sandbox, code) == ([13, 25], set())  # SIGPIPE, SIGXFSZ: Python's own habit


# -- who it is --------------------------------------------------------------------------------------


async def test_it_is_an_ordinary_user_inside_and_one_of_its_own_outside(spawner: Spawner) -> None:
    first, second = await spawner(), await spawner()
    code = "import os; result = (os.getresuid(), os.getresgid())"
    assert await run(first, code) == ((1000, 1000, 1000), (1000, 1000, 1000))
    outside = [status(sandbox.pid)["Uid"].split() for sandbox in (first, second)]
    if os.geteuid() == 0:
        assert outside[0] != outside[1]
        assert all(300_000 <= int(uid) < 365_536 for uids in outside for uid in uids)
        assert status(first.pid)["Groups"] == ""


async def test_it_has_no_capability_and_can_gain_none(sandbox: Sandbox) -> None:
    found = status(sandbox.pid)
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


async def test_every_namespace_is_its_own(spawner: Spawner) -> None:
    first, second = await spawner(), await spawner()
    for name in NAMESPACES:
        seen = {os.readlink(f"/proc/{pid}/ns/{name}") for pid in ("self", first.pid, second.pid)}
        assert len(seen) == 3, name


async def test_it_can_make_no_namespace_even_without_the_filter(sandbox: Sandbox) -> None:
    """The second layer: the kernel's own limit, as seen from a process that joins from outside."""
    limit = await asyncio.create_subprocess_exec(
        *("nsenter", "--target", str(sandbox.pid), "--user", "--preserve-credentials"),
        *("unshare", "--user", "true"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await limit.communicate()
    assert limit.returncode != 0 and b"No space left on device" in error


async def test_its_environment_and_host_name_tell_nothing(sandbox: Sandbox) -> None:
    assert await run(sandbox, "import os; result = dict(os.environ)") == {
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin",
        "PWD": "/tmp",
        "TZ": "UTC",
    }
    name = await run(sandbox, "import os; result = os.uname().nodename")
    assert name == "bento"
    assert await run(sandbox, "import time; result = time.tzname") == ("UTC", "UTC")


async def test_the_command_line_names_nothing_of_the_machine(sandbox: Sandbox) -> None:
    inside = Path(f"/proc/{sandbox.pid}/cmdline").read_bytes().decode()
    assert re.findall(r"/\w[\w/.-]+", inside) == ["/usr/bin/python3", "/dev/null"]
    assert sandbox.instance_id not in inside


# -- the network ------------------------------------------------------------------------------------


async def test_its_network_is_a_loopback_of_its_own(sandbox: Sandbox) -> None:
    devices = Path(f"/proc/{sandbox.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    routes = Path(f"/proc/{sandbox.pid}/net/route").read_text().splitlines()[1:]
    assert routes == []


async def test_it_reaches_no_listener_of_the_machine(sandbox: Sandbox) -> None:
    """Neither by address nor by abstract name."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0bento-test-{os.getpid()}")
        unix.listen()
        code = f"""
            import socket
            result = []
            for family, address in ((socket.AF_INET, ("127.0.0.1", {tcp.getsockname()[1]})),
                                    (socket.AF_UNIX, "\\0bento-test-{os.getpid()}")):
                with socket.socket(family) as attempt:
                    result.append(attempt.connect_ex(address))
        """
        assert await run(sandbox, code) == [111, 111]  # ECONNREFUSED


async def test_an_address_outside_is_unreachable_at_once(sandbox: Sandbox) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737); nothing leaves: there is no route in there at all."""
    code = """
        import socket
        with socket.socket() as attempt:
            result = attempt.connect_ex(("192.0.2.1", 80))
    """
    assert await run(sandbox, code) == 101  # ENETUNREACH


async def test_its_egress_listener_is_reached_from_inside_and_accepted_outside(
    sandbox: Sandbox,
) -> None:
    code = """
        import socket
        with socket.create_connection(("127.0.0.1", 1080)) as client:
            client.sendall(b"hello")
    """
    await run(sandbox, code)
    accepted, _ = await asyncio.get_running_loop().sock_accept(sandbox.egress_listener)
    with accepted:
        accepted.setblocking(True)
        assert accepted.recv(5) == b"hello"


# -- each other -------------------------------------------------------------------------------------


async def test_two_sandboxes_see_nothing_of_each_other(spawner: Spawner) -> None:
    first, second = await spawner(), await spawner()
    await run(
        first,
        """
        import os, socket
        open("/tmp/secret", "w").write("mine")
        hidden = socket.socket(socket.AF_UNIX)
        hidden.bind("\\0hidden")
        hidden.listen()
        local = socket.create_server(("127.0.0.1", 2000))
        child = os.fork()
        if child == 0:
            import time
            time.sleep(1000)
        """,
    )
    code = """
        import os, socket
        alive = []
        for pid in range(2, 5000):
            try:
                os.kill(pid, 0)
                alive.append(pid)
            except ProcessLookupError:
                pass
        def connect(family, address):
            with socket.socket(family) as attempt:
                return attempt.connect_ex(address)
        result = (
            os.listdir("/tmp"),
            alive,
            connect(socket.AF_UNIX, "\\0hidden"),
            connect(socket.AF_INET, ("127.0.0.1", 2000)),
        )
    """
    assert await run(second, code) == ([], [], 111, 111)
