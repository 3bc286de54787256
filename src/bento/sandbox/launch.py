"""Starts a runtime through the jailer, and learns from it which process is the sandbox's first."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import marshal
import os
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bento.errors import HostError
from bento.sandbox import bubblewrap, loader, oci, rlimits, seccomp
from bento.sandbox.cgroup import Group
from bento.sandbox.descriptors import MemoryFile, Pipe, read_all, readable, receive
from bento.sandbox.hierarchies import WANTED
from bento.sandbox.images import Image
from bento.sandbox.limits import Limits
from bento.sandbox.process import Process, parent
from bento.sandbox.runtimes import BUBBLEWRAP, Runtime
from bento.sandbox.uids import Uid

if TYPE_CHECKING:
    from bento.sandbox.jailer import Request

_PYTHON = "/usr/bin/python3"
_JAILER = Path(__file__).with_name("jailer.py")
_INFO_LIMIT = 4096  # bytes; bubblewrap writes about 200
_REPLY_LIMIT = 1024  # bytes; a number, or one sentence
_END_WITHIN = 5.0  # seconds for the jailer to see that we are gone

# The numbers that bubblewrap is told, in the order in which the jailer is given descriptors.
_OPTIONS, _INFO, _SECCOMP, _GATE, _FILES = 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class Inherited:
    """Descriptors for inside: 0, 1 and 2 of the first process (see `loader`), and what opens the way
    to it: bubblewrap goes on once there is something to read, or the end."""

    way_in: int
    runtime: int
    words: int
    gate: int


async def launch(
    image: Image,
    limits: Limits,
    uid: Uid | None,
    group: Group | None,
    inherited: Inherited,
    runtime: Runtime = BUBBLEWRAP,
) -> tuple[Process, int]:
    """(supervisor, process id of the sandbox's first process).

    The supervisor is bubblewrap's outer process, which ends right after the sandbox; that of an OCI
    runtime ends before. Raises HostError if the sandbox's first process never came to be; the
    supervisor has ended then.
    """
    with ExitStack() as stack:
        info = stack.enter_context(Pipe())
        start = _start_oci if runtime.is_oci else _start_bubblewrap
        request, descriptors = start(stack, image, limits, uid, group, inherited, info, runtime)
        jailer = _jailer()
        supervisor = await jailer.request(marshal.dumps(request), descriptors)  # type: ignore[arg-type]  # a TypedDict is a dict
        info.close_writer()
        try:
            return supervisor, await _first_process(info.reader, {supervisor.pid, jailer.pid})
        except BaseException:
            await supervisor.end_with_children()
            raise


def _start_bubblewrap(
    stack: ExitStack,
    image: Image,
    limits: Limits,
    uid: Uid | None,
    group: Group | None,
    inherited: Inherited,
    info: Pipe,
    _: Runtime,
) -> tuple[Request, list[int]]:
    contents = (
        _options(image),
        seccomp.program(image.profile, grouped=group is not None),
        *(content for _, content in image.files),
    )
    files = (stack.enter_context(MemoryFile(content)) for content in contents)
    options, program, *rest = (file.descriptor for file in files)
    return _request(_command(image), image, limits, uid, group), [
        *(inherited.way_in, inherited.runtime, inherited.words),
        *(options, info.writer, program, inherited.gate, *rest),
    ]


def _start_oci(
    stack: ExitStack,
    image: Image,
    limits: Limits,
    uid: Uid | None,
    group: Group | None,
    inherited: Inherited,
    info: Pipe,
    runtime: Runtime,
) -> tuple[Request, list[int]]:
    if group is None or not group.enforces >= WANTED:
        raise HostError(
            f"the runtime {runtime.name} needs control groups for memory, processes and cpu",
            "run bentod as root, or choose the runtime bubblewrap",
        )
    outside = uid.number if uid else os.getuid()
    content = oci.bundle(image, limits, runtime, outside)
    bundle = stack.enter_context(MemoryFile(content))
    request = _request(oci.command(runtime), image, limits, uid, group)
    request["bundle"], request["identity"] = True, runtime.outer_uid
    return request, [
        *(inherited.way_in, inherited.runtime, inherited.words, inherited.gate),
        *(info.writer, bundle.descriptor),
    ]


@cache
def _options(image: Image) -> bytes:
    files = {path: _FILES + index for index, (path, _) in enumerate(image.files)}
    words = bubblewrap.options(image, info=_INFO, seccomp=_SECCOMP, gate=_GATE, files=files)
    return "\0".join(words).encode()


@cache
def _command(image: Image) -> list[str]:
    # The options stay off the command line, where anybody on the machine could read them.
    text = loader.text(seccomp.seal(image.profile))
    return [bubblewrap.PROGRAM, "--args", str(_OPTIONS), _PYTHON, "-I", "-S", "-c", text]


def _request(
    command: list[str], image: Image, limits: Limits, uid: Uid | None, group: Group | None
) -> Request:
    return {
        "command": command,
        "uid": uid.number if uid else None,
        "tasks": [os.fspath(path) for path in group.tasks] if group else [],
        "unified": os.fspath(group.unified) if group and group.unified else None,
        "nice": rlimits.NICE,
        "io_priority": (_ioprio_set(), rlimits.IO_PRIORITY),
        "oom_score_adj": rlimits.OOM_SCORE,
        "rlimits": list(rlimits.values(image, limits, grouped=group is not None).items()),
        "disk": limits.disk,
        "inodes": limits.inodes,
        "bundle": False,
        "identity": None,
    }


@cache
def _ioprio_set() -> int:
    """The C library has no name for it, and each architecture a number."""
    number = seccomp.call_number("ioprio_set")
    assert number is not None
    return number


async def _first_process(info: int, parents: set[int]) -> int:
    text = await read_all(info, _INFO_LIMIT)
    try:
        pid = int(json.loads(text)["child-pid"])
        if parent(pid) in parents:
            return pid
    except (ValueError, LookupError):  # no or half an answer; or ended since
        pass
    raise HostError("the runtime ended before the sandbox was made")


class Jailer:
    """The jailer's process, from bentod's side."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # In a session of its own: a Ctrl-C meant for bentod must not reach it.
            self._process = subprocess.Popen(
                [_PYTHON, "-I", "-S", os.fspath(_JAILER)],
                stdin=theirs.fileno(),
                env={},
                cwd="/",
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def request(self, request: bytes, descriptors: list[int]) -> Process:
        """bubblewrap's outer process. Raises HostError with the jailer's reason if it has none."""
        exchange = asyncio.create_task(self._exchange(request, descriptors))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            with contextlib.suppress(HostError):  # it answers within a millisecond
                await (await exchange).end_with_children()
            raise

    async def _exchange(self, request: bytes, descriptors: list[int]) -> Process:
        reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with reply:
            with theirs:
                socket.send_fds(self._requests, [request], [theirs.fileno(), *descriptors])
            await readable(reply.fileno())
            message, pidfds = receive(reply, _REPLY_LIMIT, 1)
        if not pidfds:
            raise HostError(f"no process for a sandbox: {message.decode() or 'the jailer ended'}")
        return Process(int(message), pidfds[0])

    def close(self) -> None:
        """Ends the jailer; the sandboxes it started live on."""
        self._requests.close()
        self._process.wait(_END_WITHIN)


_current: Jailer | None = None


def _jailer() -> Jailer:
    """The one jailer of this process, started at the first need and again if it died."""
    global _current
    if _current is None or not _current.alive:
        if _current is None:
            atexit.register(_close)
        else:
            _current.close()
        _current = Jailer()
    return _current


def _close() -> None:
    if _current:
        _current.close()
