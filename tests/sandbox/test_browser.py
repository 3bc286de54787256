"""Chromium runs in the browser image, with a sandbox of its own inside ours."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from tests.sandbox.chromium import CHROMIUM
from tests.sandbox.conftest import Spawner
from tests.sandbox.inside import run
from tests.sandbox.leftovers import Traces
from tests.waiting import until

from bento.sandbox import Sandbox

PAGE = "data:text/html,<title>ok</title><body style='background:rgb(255,0,0)'>"


@pytest.fixture
async def browser(spawner: Spawner) -> Sandbox:
    return await spawner("browser")


async def test_a_page_is_drawn_and_its_scripts_run(browser: Sandbox) -> None:
    await run(browser, CHROMIUM)
    await run(browser, f"page = chromium.open({PAGE!r})")
    code = "result = chromium.call('Runtime.evaluate', page, expression='1 + 1')"
    assert (await run(browser, code))["result"]["value"] == 2
    code = "result = chromium.call('Page.captureScreenshot', page)['data']"
    picture = Image.open(io.BytesIO(base64.b64decode(await run(browser, code))))
    assert picture.convert("RGB").getpixel((50, 50)) == (255, 0, 0)


async def test_its_own_sandbox_is_on_inside_ours(browser: Sandbox) -> None:
    """Seen from the machine: each renderer sits in namespaces below ours, under a second filter, and
    has no files at all."""
    await run(browser, CHROMIUM)
    await run(browser, f"page = chromium.open({PAGE!r})")
    # A renderer locks itself up before it is given a page; spare ones come and go meanwhile.
    await until(
        lambda: _renderers(browser) != [] and all(map(_is_filtered_twice, _renderers(browser)))
    )
    seen = _renderers(browser)
    assert seen
    for renderer in seen:
        for name in ("user", "pid", "net"):
            assert renderer.namespaces[name] != _namespace(browser.pid, name), name
        assert re.search(r"^Seccomp:\s+2$", renderer.status, re.M)
        assert _is_filtered_twice(renderer)
        assert re.search(r"^CapEff:\s+0{16}$", renderer.status, re.M)
        assert re.search(r"^NoNewPrivs:\s+1$", renderer.status, re.M)
        assert b"--no-sandbox" not in renderer.command


async def test_it_dies_whole(browser: Sandbox) -> None:
    await run(browser, CHROMIUM)
    await run(browser, "chromium.call('Browser.getVersion')")
    processes, traces = _processes_in(browser), Traces(browser)
    assert len(processes) > 5
    await browser.kill()
    assert traces.left == []
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


async def test_proc_shows_the_sandbox_and_nothing_of_the_machine(browser: Sandbox) -> None:
    code = """
        import os
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
        def read(path):
            try:
                return open(path).read()
            except OSError:
                return ""
        first = {name: read("/proc/1/" + name) for name in ("cmdline", "environ", "cgroup", "mountinfo")}
        listed = [folder + name for folder in ("/proc/", "/proc/sys/") for name in os.listdir(folder)]
        rest = {path: read(path) for path in listed if os.path.isfile(path)}
        result = (processes, first, rest, os.listdir("/proc/sys"))
    """
    processes, first, rest, settings = await run(browser, code)
    assert processes == ["1"]
    assert settings == []
    assert {line.split(":", 2)[2] for line in first["cgroup"].splitlines()} == {"/"}
    assert set(re.findall(r"/\w[\w/.-]+", first["cmdline"])) == {"/usr/bin/python3", "/dev/null"}
    everything = "\n".join([*first.values(), *rest.values()])
    secrets = [
        *(socket.gethostname(), browser.instance_id, str(browser.socket_path.parent)),
        *(Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.uname().release),
        *(str(Path(__file__).parents[2]), Path("/proc/cmdline").read_text().strip()),
    ]
    told = [
        secret for secret in secrets if re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", everything)
    ]
    assert told == []
    # Where the machine's own root is a folder of another file system, its path is a part of them all.
    outside = Path("/proc/self/mountinfo").read_text().splitlines()
    root = next(line.split()[3] for line in outside if line.split()[4] == "/").rstrip("/")
    sources = {line.split()[3].removeprefix(root) for line in first["mountinfo"].splitlines()}
    assert all(
        re.match(r"/?$|/newroot$|/usr|/etc|/null|/zero|/urandom", source) for source in sources
    ), sources


async def test_a_function_may_start_programs_here(browser: Sandbox) -> None:
    code = """
        import subprocess
        result = subprocess.run(["/usr/bin/echo", "hello"], capture_output=True).stdout
    """
    assert await run(browser, code) == b"hello\n"


async def test_it_has_no_more_power_than_other_images(browser: Sandbox) -> None:
    """A nested namespace is all that the wider profile gives, and there is nothing to gain in one."""
    code = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def in_a_child(*call):
            child = os.fork()
            if child == 0:
                libc.unshare(0x10000000 | 0x20000)
                ctypes.set_errno(0)
                libc.syscall(*call)
                os._exit(ctypes.get_errno())
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        mount, pivot_root, ptrace, bpf, keyctl = 165, 155, 101, 321, 250
        result = {in_a_child(number, 0, 0, 0, 0, 0) for number in (mount, pivot_root, ptrace, bpf, keyctl)}
    """
    assert await run(browser, code) == {1}  # EPERM


def _processes_in(sandbox: Sandbox) -> list[int]:
    """Of the whole tree; namespaces below count."""
    waiting, found = [sandbox.pid], []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError):  # it ends at this moment
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, path.read_text().split())
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass(frozen=True)
class _Renderer:
    command: bytes
    status: str
    namespaces: dict[str, str]


def _renderers(sandbox: Sandbox) -> list[_Renderer]:
    """Those that live, each seen whole."""
    found = []
    for pid in _processes_in(sandbox):
        command = _command(pid)
        if b"--type=renderer" in command:
            with contextlib.suppress(OSError):  # it ends at this moment
                status = Path(f"/proc/{pid}/status").read_text()
                namespaces = {name: _namespace(pid, name) for name in ("user", "pid", "net")}
                found.append(_Renderer(command, status, namespaces))
    return found


def _is_filtered_twice(renderer: _Renderer) -> bool:
    found = re.search(r"^Seccomp_filters:\s+(\d+)$", renderer.status, re.M)
    return found is not None and int(found[1]) >= 2


def _namespace(pid: int, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")
