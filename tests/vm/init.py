#!/usr/bin/python3
"""Process 1 of the small virtual machine: control groups of version 2 alone, then our own tests.

It leaves the initial RAM disk for a tmpfs first, as pivot_root(2), which bubblewrap needs, cannot
leave the former.
"""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess

_MS_MOVE = 8192
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_RESTART = 0x01234567
_REAL_ROOT = "/real-root"
_MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
)
_PYTHON = "/usr/bin/python3"
_ENVIRONMENT = {
    "PATH": "/usr/bin:/usr/sbin",
    "PYTHONPATH": "/bento/src:/bento:/bento/site-packages",
    "HOME": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# What the verdict is worth nothing without.
_VERSION = """
from bento.sandbox import hierarchies
found = hierarchies.ours()
assert [h.version for h in found] == [2] and found[0].controllers == hierarchies.WANTED, found
print("control groups: version 2 alone, with", ", ".join(sorted(found[0].controllers)), flush=True)
"""
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None = None, flags: int = 0) -> None:
    os.makedirs(target, exist_ok=True)
    words = (word.encode() if word else None for word in (source, target, kind))
    if _libc.mount(*words, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def leave_the_ram_disk() -> None:
    mount("tmpfs", _REAL_ROOT, "tmpfs")
    for entry in set(os.listdir("/")) - {_REAL_ROOT.strip("/"), "dev", "root"}:
        source, target = f"/{entry}", f"{_REAL_ROOT}/{entry}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            shutil.copytree(source, target, symlinks=True)
    os.chdir(_REAL_ROOT)
    mount(".", "/", flags=_MS_MOVE)
    os.chroot(".")
    os.chmod("/", 0o755)


def loopback_up() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", _IFF_UP).ljust(40, b"\0")
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def main() -> None:
    leave_the_ram_disk()
    for kind, target in _MOUNTS:
        mount(kind, target, kind)
    os.chmod("/tmp", 0o1777)
    loopback_up()
    with open("/proc/cmdline") as file:
        tests = file.read().partition("tests=")[2].strip().strip('"').split(",")
    command = [_PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--color=no"]
    command += ["--confcutdir=tests/sandbox", *tests]
    for words in ([_PYTHON, "-c", _VERSION], command):
        done = subprocess.run(words, cwd="/bento", env=_ENVIRONMENT, stdin=subprocess.DEVNULL)
        if done.returncode:
            break
    print(f"\nverdict: {done.returncode}", flush=True)


try:
    main()
finally:
    _libc.reboot(_RESTART)
