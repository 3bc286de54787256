"""Stops a real process right before a chosen system call on its journal: to kill it there, or to let
the call fail.

The kernel does it (seccomp user notification, seccomp_unotify(2)): the process asks us before each call
that writes, syncs, cuts, renames or removes a file; we look which file it is and let it go on, answer
with an error, or kill. SQLite and bentod run as they are. Children inherit the filter, so their
calls come here too and go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

# By number, <asm/unistd.h>; "fd" or "path" says what the first argument is.
_CALLS = {
    "x86_64": {
        18: ("pwrite64", "fd"),
        74: ("fsync", "fd"),
        75: ("fdatasync", "fd"),
        77: ("ftruncate", "fd"),
        82: ("rename", "path"),
        87: ("unlink", "path"),
    },
    "aarch64": {
        68: ("pwrite64", "fd"),
        82: ("fsync", "fd"),
        83: ("fdatasync", "fd"),
        46: ("ftruncate", "fd"),
    },
}[platform.machine()]
_SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_USER_NOTIF, _ALLOW = 0x7FC00000, 0x7FFF0000
_CONTINUE = 1
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_RECV, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND, <linux/seccomp.h>
_NOTICE = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, number, architecture, address, arguments
_ANSWER = struct.Struct("=QqiI")  # id, value, error, flags

_HOLD = 0.05  # seconds before the kill: whoever does not wait for the call says too much meanwhile

KILL = -1
Plan = Callable[[str], int]
"""From a call's name to 0 (it goes on), an errno, or KILL. Asked for each call on the journal."""


def install() -> int:
    """Puts this process under the filter; the listener's descriptor."""
    jumps = list(_CALLS)
    program = [(_LOAD, 0, 0, 0)]
    program += [(_EQUAL, len(jumps) - at, 0, number) for at, number in enumerate(jumps)]
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _USER_NOTIF)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener: int = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, filter_)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    os.set_inheritable(listener, False)
    return listener


class Faults:
    """Answers for the files whose name begins with `prefix`. `calls` are those asked so far."""

    def __init__(self, prefix: str, plan: Plan) -> None:
        self.calls: list[str] = []
        self.plan = plan
        self._prefix = prefix
        self._listener = -1
        self._ours, self.theirs = socket.socketpair()
        self._process = 0
        self._held: asyncio.TimerHandle | None = None

    async def attend(self, process: int) -> None:
        """Takes the listener over from the process that `launch` starts."""
        self.theirs.close()
        self._process = process
        self._ours.setblocking(False)
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.add_reader(self._ours, arrived.set_result, None)
        await arrived
        loop.remove_reader(self._ours)
        _, [self._listener], _, _ = socket.recv_fds(self._ours, 1, 1)
        loop.add_reader(self._listener, self._answer)

    def close(self) -> None:
        if self._held is not None:
            self._held.cancel()
        self._ours.close()
        if self._listener >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)
            os.close(self._listener)
            self._listener = -1

    def _answer(self) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECV, notice)
        except OSError as error:
            if error.errno == errno.ENOENT:  # it died asking
                return
            self.close()  # nobody is left under the filter
            return
        number, pid, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        name, kind = _CALLS[call]
        verdict = 0
        if self._file(pid, kind, arguments[0]).startswith(self._prefix):
            self.calls.append(name)
            verdict = self.plan(name)
        if verdict == KILL:
            self._held = asyncio.get_running_loop().call_later(_HOLD, self._kill)
            return
        answer = _ANSWER.pack(number, 0, -verdict, 0 if verdict else _CONTINUE)
        with contextlib.suppress(OSError):  # it died waiting
            fcntl.ioctl(self._listener, _SEND, answer)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)

    def _file(self, pid: int, kind: str, argument: int) -> str:
        try:
            if kind == "fd":
                return str(Path(f"/proc/{pid}/fd/{argument}").readlink())
            with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                memory.seek(argument)
                return memory.read(256).partition(b"\0")[0].decode(errors="replace")
        except OSError:
            return ""
