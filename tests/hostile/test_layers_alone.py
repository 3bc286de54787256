"""Layers one at a time: with one of them off, another still stops what it must.

So that no layer is dead, and a mistake in one is not the end. What only the filter stops (io_uring,
key rings, vsock) is in the table of docs/security.md with the filter as its one layer.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
from collections.abc import Iterator

import pytest
from tests.sandbox.conftest import Spawner, folder, spawner
from tests.sandbox.inside import run

from bento.sandbox import launch, loader, seccomp

__all__ = ["folder", "spawner"]

_ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)

_CALL = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    ctypes.set_errno(0)
    words = [ctypes.c_long(w) if isinstance(w, int) else ctypes.c_char_p(w) for w in words]
    if libc.syscall(ctypes.c_long(number), *words) >= 0:
        return "DONE"
    return errno.errorcode[ctypes.get_errno()]
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "DONE"
"""


@pytest.fixture
def without_filter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sandboxes that start while this lasts have no system-call filter."""
    monkeypatch.setattr(launch.seccomp, "program", lambda *_, **__: _ALLOW_ALL)
    monkeypatch.setattr(launch.seccomp, "seal", lambda _: b"")
    launch._command.cache_clear()
    yield
    launch._command.cache_clear()


# What stops it then, and the answer.
WITHOUT_FILTER = {
    "a user namespace (no namespaces allowed)": ("call(272, 0x10000000)", "ENOSPC"),
    "a mount namespace (no capabilities)": ("call(272, 0x20000)", "EPERM"),
    "a mount (no capabilities)": ("call(165, b'x', b'/tmp', b'tmpfs', 0, 0)", "EPERM"),
    "unmounting (no capabilities)": ("call(166, b'/tmp', 2)", "EPERM"),
    "pivot_root (no capabilities)": ("call(155, b'/tmp', b'/tmp')", "EPERM"),
    "the new mount calls (no capabilities)": ("call(430, b'tmpfs', 0)", "EPERM"),
    "chroot (no capabilities)": ("call(161, b'/tmp')", "EPERM"),
    "a device node (no capabilities)": ("call(133, b'/tmp/disk', 0o60600, 0xfe00)", "EPERM"),
    "a file by its handle (no capabilities)": (
        "call(304, os.open('/', 0), b'\\x08' + bytes(3) + b'\\x01' + bytes(20), 0)",
        "EPERM",
    ),
    "becoming root (one id in the namespace)": ("call(105, 0)", "EPERM|EINVAL"),
    "kernel modules (no capabilities)": ("call(313, -1, b'', 0)", "EPERM|ENOSYS"),
    "the machine's name (no capabilities)": ("call(170, b'x', 1)", "EPERM"),
    "the clock (no capabilities)": ("call(227, 0, bytes(16))", "EPERM"),
    "swap (no capabilities)": ("call(167, b'/tmp/x', 0)", "EPERM"),
    "the kernel's log (no capabilities)": ("call(103, 3, bytes(64), 64)", "EPERM"),
    "another process (pid namespace)": ("attempt(os.kill, {bentod}, 0)", "ESRCH"),
    "raw sockets (no capabilities)": ("attempt(socket.socket, 2, 3, 1)", "EPERM"),
    "packets (no capabilities)": ("attempt(socket.socket, 17, 3, 768)", "EPERM"),
    "TCP (network namespace)": (
        "attempt(socket.socket().connect, ('192.0.2.1', 80))",
        "ENETUNREACH",
    ),
    "a program that runs as root (no_new_privs)": ("attempt(os.stat, '/root')", "ENOENT"),
    "the relay's files (mount namespace)": ("attempt(os.open, '/var/lib/tor', 0)", "ENOENT"),
    "going before tor (no capabilities)": ("attempt(os.nice, -20)", "EPERM|EACCES"),
    "its own limits (rlimits)": (
        "attempt(__import__('resource').setrlimit, 4, (1, 1))",
        "EPERM|ValueError",
    ),
}


async def test_without_the_filter_the_other_layers_hold(
    spawner: Spawner, without_filter: None
) -> None:
    sandbox = await spawner()
    await run(sandbox, _CALL)
    for what, (code, expected) in WITHOUT_FILTER.items():
        try:
            found = await run(sandbox, "result = " + code.format(bentod=os.getpid()))
        except Exception as error:
            found = str(error).partition(":")[0]
        assert found in expected.split("|"), what


# Harmless where they are not refused: arguments that no kernel accepts.
FILTER_ALONE = {
    "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
    "open_by_handle_at": 304, "mknod": 133, "ptrace": 101, "process_vm_writev": 311, "bpf": 321,
    "io_uring_setup": 425, "userfaultfd": 323, "perf_event_open": 298, "keyctl": 250,
    "init_module": 175, "kexec_load": 246, "personality": 135, "reboot": 169, "setuid": 105,
    "fsopen": 430, "move_mount": 429, "syslog": 103, "quotactl": 179, "kcmp": 312,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "fanotify_init": 300,
}  # fmt: skip

_UNDER_THE_FILTER = """
import json, sys
given = json.loads(sys.stdin.readline())
{call}
exec(given["seal"])
print(json.dumps({{name: call(number, -1, -1, -1, -1, -1, -1) for name, number in given["calls"].items()}}))
"""


def test_the_filter_holds_alone() -> None:
    """No namespace, no other user, all capabilities that we have: the filter and nothing else."""
    text = loader.text(seccomp.program("python", grouped=True))
    seal = text[text.index("import _ctypes") : text.rindex("exec(code")]
    given = json.dumps({"seal": seal, "calls": FILTER_ALONE})
    # no_new_privs, which an ordinary user needs, hides nothing: the filter answers before it.
    done = subprocess.run(
        [
            *("setpriv", "--no-new-privs", "/usr/bin/python3", "-I", "-c"),
            _UNDER_THE_FILTER.format(call=_CALL),
        ],
        input=given + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == dict.fromkeys(FILTER_ALONE, errno.errorcode[errno.EPERM])
