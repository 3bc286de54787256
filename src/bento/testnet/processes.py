"""Which processes belong to a network, so that they are found and ended even if their supervisor
was killed.

A process is named by its id *and* its start time: ids are used again, and a process of somebody
else must never get our signal. The signal goes through a pidfd that was opened before the start
time was compared, so there is no moment in between either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL: a bentod ends its instances meanwhile."""
BRIEF_GRACE = 1.0
"""The same for what has nothing to tidy up, as the instances of a bentod that is gone."""


@dataclass(frozen=True)
class Identity:
    """One process of this boot; `start` is in clock ticks since the boot (proc(5))."""

    name: str
    pid: int
    start: int

    @classmethod
    def of(cls, name: str, pid: int) -> Identity | None:
        """None if there is no such process, or nothing of it but its exit status."""
        stat = _stat(pid)
        return None if stat is None or stat.state == "Z" else cls(name, pid, stat.start)


class Table:
    """The list of a network's processes, in a file. Written anew at each change, atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Identity] = {}

    def put(self, name: str, pid: int) -> None:
        """Enter a process, or replace an earlier one of that name."""
        if identity := Identity.of(name, pid):
            self._entries[name] = identity
            self._write()

    @staticmethod
    def read(path: Path) -> list[Identity]:
        """What the file lists; nothing if there is none or it is of an earlier boot."""
        try:
            content = json.loads(path.read_text())
            if content["boot"] != _boot():
                return []
            return [Identity(e["name"], e["pid"], e["start"]) for e in content["processes"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _write(self) -> None:
        content = {"boot": _boot(), "processes": [asdict(e) for e in self._entries.values()]}
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(content))
        new.replace(self._path)


async def end(processes: Iterable[Identity], grace: float = GRACE) -> list[str]:
    """End those that are still the same processes: SIGTERM, then SIGKILL after `grace` seconds.

    Returns the names of those that had to be ended.
    """
    with contextlib.ExitStack() as stack:
        alive = [(p, fd) for p in processes if (fd := _open(p, stack)) is not None]
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
            for _, fd in alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)
                    signal.pidfd_send_signal(fd, signal.SIGCONT)  # a stopped one hears nothing
            if await _all_exited([fd for _, fd in alive], patience):
                break
        return [process.name for process, _ in alive]


async def ended(processes: Iterable[Identity], patience: float) -> bool:
    """Wait until none of them is there any more; False if one still is after `patience` s."""
    with contextlib.ExitStack() as stack:
        pidfds = [fd for p in processes if (fd := _open(p, stack)) is not None]
        return await _all_exited(pidfds, patience)


def _open(process: Identity, stack: contextlib.ExitStack) -> int | None:
    """A pidfd for exactly this process."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return None
    stack.callback(os.close, fd)
    return fd if Identity.of(process.name, process.pid) == process else None


async def _all_exited(pidfds: list[int], patience: float) -> bool:
    """Wait until each is readable: the process has ended (pidfd_open(2))."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while not all(_has_exited(fd) for fd in pidfds):
        if loop.time() > until:
            return False
        await asyncio.sleep(0.01)
    return True


def _has_exited(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def descendants(root: int) -> list[Identity]:
    """Every process below `root`, zombies excepted."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        if stat := _stat(pid):
            children.setdefault(stat.parent, []).append(pid)
    found, queue = [], list(children.get(root, ()))
    while queue:
        pid = queue.pop()
        queue += children.get(pid, ())
        if identity := Identity.of(_program(pid), pid):
            found.append(identity)
    return found


def socket_holders(folder: Path) -> list[Identity]:
    """Processes that hold a unix socket bound below `folder`, this one excepted.

    So an instance is found whose box and supervisor were both killed: it inherited its socket.
    """
    inodes = {f"socket:[{inode}]" for inode in _bound_below(folder)}
    if not inodes:
        return []
    return [
        identity
        for pid in _all_pids()
        if pid != os.getpid() and inodes.intersection(_open_files(pid))
        if (identity := Identity.of(_program(pid), pid))
    ]


def reap_adopted(seen: set[int]) -> set[int]:
    """Collect the exit status of children that nobody here waits for.

    A child of ours is collected at once by whoever started it. So a zombie that was there at the
    last look too (`seen`) was adopted from a child that died. Returns what to pass next time.
    """
    zombies = {p for p in _all_pids() if (s := _stat(p)) and s.parent == os.getpid() and s.is_dead}
    for pid in zombies & seen:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return zombies - seen


def reap_all() -> None:
    """Collect every child that has ended: not every machine's first process does it for us."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    start: int

    @property
    def is_dead(self) -> bool:
        return self.state == "Z"


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field, the program's name, may hold spaces and parentheses (proc(5)).
    fields = text.rpartition(") ")[2].split()
    return _Stat(state=fields[0], parent=int(fields[1]), start=int(fields[19]))


def _program(pid: int) -> str:
    """The name of the program that a process runs; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _all_pids() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        yield from (int(entry.name) for entry in entries if entry.name.isdigit())


def _bound_below(folder: Path) -> Iterator[str]:
    prefix = f"{folder}/"
    # Num RefCount Protocol Flags Type St Inode Path (proc(5))
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith(prefix):
            yield fields[6]


def _open_files(pid: int) -> Iterator[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            files = [Path(entry.path) for entry in entries]
    except OSError:  # ended, or another user's
        return
    for file in files:
        with contextlib.suppress(OSError):
            yield str(file.readlink())


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
