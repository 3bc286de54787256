"""A running sandbox's disk, made larger or smaller in place, so that one from the pool fits anyone.

By the mount API of Linux 5.2 (fspick, fsconfig), which needs CAP_SYS_ADMIN: root's bentod only. The
sandbox's root is read-only, so its /tmp can be nothing but the tmpfs that was mounted there.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

_SYS_FSCONFIG, _SYS_FSPICK = 431, 433  # the same on every architecture
_FSPICK_CLOEXEC, _FSPICK_EMPTY_PATH = 0x1, 0x8
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_RECONFIGURE = 1, 7
_CAP_SYS_ADMIN = 21


@cache
def can_resize() -> bool:
    """Whether this process may."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return os.geteuid() == 0 and bool(int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


def resize(pid: int, size: int, inodes: int) -> None:
    """Gives the sandbox of process `pid` a disk of `size` bytes and `inodes` files.

    Raises OSError if the machine does not let us, or if more than that is in use.
    """
    mount = os.open(f"/proc/{pid}/root/tmp", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        context = _call(_SYS_FSPICK, mount, b"", _FSPICK_CLOEXEC | _FSPICK_EMPTY_PATH)
        try:
            for key, value in ((b"size", size), (b"nr_inodes", inodes)):
                _call(_SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, key, str(value).encode(), 0)
            _call(_SYS_FSCONFIG, context, _FSCONFIG_CMD_RECONFIGURE, None, None, 0)
        finally:
            os.close(context)
    finally:
        os.close(mount)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
