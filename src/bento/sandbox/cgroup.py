"""One instance's control group: its limits, its use, its end. Both versions, or a mixture.

Limits are written before the first process joins. Sources: the kernel's admin-guide/cgroup-v1/ and
admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from bento.errors import HostError
from bento.sandbox import hierarchies
from bento.sandbox.hierarchies import WANTED, write
from bento.sandbox.limits import SUPERVISOR, Limits

_PERIOD = 100_000  # microseconds over which the cpu quota is counted (the kernel's default)
_REMOVAL = 10.0  # seconds an ended group may stay busy


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance has used: seconds of cpu since its start, bytes of memory now."""

    cpu: float
    memory: int


def new_name(run_dir: Path) -> str:
    """For a group of the bentod whose folder is `run_dir`; `left_of` finds it by that."""
    return f"{_owner(run_dir)}{secrets.token_hex(8)}"


def left_of(run_dir: Path) -> set[str]:
    """The names of all groups of the bentod whose folder is `run_dir`."""
    owner = _owner(run_dir)
    return {path.name for h in hierarchies.ours() for path in h.base.glob(f"{owner}*")}


def _owner(run_dir: Path) -> str:
    folder = os.fsencode(run_dir.resolve())
    return hashlib.blake2b(folder, digest_size=6).hexdigest() + "-"


class Group:
    """The groups of one instance, one folder in each hierarchy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folders = {h: h.base / name for h in hierarchies.ours()}
        self.enforces = WANTED & frozenset(c for h in self._folders for c in h.controllers)

    @classmethod
    def create(cls, name: str, limits: Limits) -> Group:
        """A new group with `limits`. Raises HostError if it cannot be made or limited."""
        group = cls(name)
        made = []
        try:
            for folder in group._folders.values():
                folder.mkdir()
                made.append(folder)
            group.set(limits)
        except OSError as error:
            for folder in made:
                folder.rmdir()
            raise HostError(f"no control group for a sandbox: {error}") from error
        return group

    @property
    def unified(self) -> Path | None:
        """The version 2 folder, in which a process can be born (CLONE_INTO_CGROUP)."""
        return next((folder for h, folder in self._folders.items() if h.version == 2), None)

    @property
    def tasks(self) -> list[Path]:
        """The version 1 files into which a process writes itself."""
        return [folder / "tasks" for h, folder in self._folders.items() if h.version == 1]

    def set(self, limits: Limits) -> None:
        """Writes new limits, also on a running instance."""
        for hierarchy, folder in self._folders.items():
            for controller, writer in _WRITERS[hierarchy.version].items():
                if controller in hierarchy.controllers:
                    writer(folder, limits)

    def unthrottle(self) -> None:
        """No cpu quota any more: processes must be scheduled to die (a killed fork bomb under a
        quota of one half takes 100 ms instead of a few)."""
        for hierarchy, folder in self._folders.items():
            if "cpu" in hierarchy.controllers:
                with contextlib.suppress(OSError):
                    write(folder / _CPU_FILE[hierarchy.version], _NO_QUOTA[hierarchy.version])

    def kill(self) -> None:
        """SIGKILL to every process in the group, bubblewrap's outer one too."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def processes(self) -> list[int]:
        """The processes in the group."""
        for folder in self._folders.values():
            with contextlib.suppress(FileNotFoundError):
                return [int(word) for word in (folder / "cgroup.procs").read_text().split()]
        return []

    def usage(self) -> Usage:
        """Zeroes for what no group counts, or once the group is gone."""
        return Usage(self._cpu_seconds(), self._memory_bytes())

    async def kill_and_remove(self) -> None:
        """`kill`, until nobody is left, and `remove`."""
        while self.processes():
            self.kill()
            await asyncio.sleep(0.001)
        await self.remove()

    async def remove(self) -> None:
        """Takes the group away; its processes must be gone. Waits while the kernel still clears up.

        Raises HostError if the group stays busy.
        """
        deadline = asyncio.get_running_loop().time() + _REMOVAL
        pause = 0.0005
        while not self._remove_now():
            if asyncio.get_running_loop().time() > deadline:
                raise HostError(f"control group {self.name} is still in use: {self.processes()}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _remove_now(self) -> bool:
        gone = True
        for folder in self._folders.values():
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
        return gone

    def _cpu_seconds(self) -> float:
        for hierarchy, folder in self._folders.items():
            with contextlib.suppress(OSError):
                if "cpuacct" in hierarchy.controllers:
                    return int((folder / "cpuacct.usage").read_text()) / 1e9
                if hierarchy.version == 2 and "cpu" in hierarchy.controllers:
                    return int((folder / "cpu.stat").read_text().split()[1]) / 1e6
        return 0.0

    def _memory_bytes(self) -> int:
        names = {1: "memory.usage_in_bytes", 2: "memory.current"}
        for hierarchy, folder in self._folders.items():
            if "memory" in hierarchy.controllers:
                with contextlib.suppress(OSError):
                    return int((folder / names[hierarchy.version]).read_text())
        return 0


def _write_if_there(path: Path, value: int | str) -> None:
    with contextlib.suppress(FileNotFoundError):
        write(path, value)


def _memory_1(folder: Path, limits: Limits) -> None:
    limit, with_swap = folder / "memory.limit_in_bytes", folder / "memory.memsw.limit_in_bytes"
    # The limit with swap may never be below the one without: which comes first depends.
    try:
        write(limit, limits.memory)
        _write_if_there(with_swap, limits.memory)
    except OSError:
        _write_if_there(with_swap, limits.memory)
        write(limit, limits.memory)
    write(folder / "memory.swappiness", 0)


def _memory_2(folder: Path, limits: Limits) -> None:
    write(folder / "memory.max", limits.memory)
    _write_if_there(folder / "memory.swap.max", 0)
    write(folder / "memory.oom.group", 1)  # half a function is of no use to anybody


def _pids(folder: Path, limits: Limits) -> None:
    write(folder / "pids.max", limits.pids + SUPERVISOR)


def _cpu_1(folder: Path, limits: Limits) -> None:
    write(folder / "cpu.cfs_period_us", _PERIOD)
    write(folder / "cpu.cfs_quota_us", int(limits.cpu * _PERIOD))
    write(folder / "cpu.shares", max(2, int(limits.weight * 1024)))


def _cpu_2(folder: Path, limits: Limits) -> None:
    write(folder / "cpu.max", f"{int(limits.cpu * _PERIOD)} {_PERIOD}")
    write(folder / "cpu.weight", min(10_000, max(1, int(limits.weight * 100))))


_WRITERS = {
    1: {"memory": _memory_1, "pids": _pids, "cpu": _cpu_1},
    2: {"memory": _memory_2, "pids": _pids, "cpu": _cpu_2},
}
_CPU_FILE = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
_NO_QUOTA = {1: "-1", 2: "max"}
