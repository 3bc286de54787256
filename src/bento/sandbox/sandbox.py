"""One running sandbox, from outside: its ways in, its use of the machine, its end."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bento.errors import HostError
from bento.sandbox import disk, priority, rlimits, tree
from bento.sandbox.carrier import Carrier
from bento.sandbox.cgroup import Group, Usage
from bento.sandbox.governor import Governor
from bento.sandbox.hierarchies import WANTED
from bento.sandbox.images import Image
from bento.sandbox.limits import Limits
from bento.sandbox.process import Process, start_time
from bento.sandbox.runtimes import BUBBLEWRAP, Runtime
from bento.sandbox.uids import Uid

Level = Literal["cgroup", "rlimit"]


@dataclass(frozen=True, slots=True)
class Record:
    """What finds a sandbox again after a restart of bentod, see `adoption`."""

    instance_id: str
    image: str
    group: str  # its control group's name
    limits: Limits
    pid: int
    started: int  # clock ticks since boot; with the pid it names one process for ever


def can_become(present: Limits, wanted: Limits, runtime: Runtime = BUBBLEWRAP) -> bool:
    """Whether limits can change so once a jail stands: descriptors are bounded for good, the disk
    wherever the machine does not let us resize it."""
    same_disk = (present.disk, present.inodes) == (wanted.disk, wanted.inodes)
    return present.open_files == wanted.open_files and (
        same_disk or (runtime.resizable and disk.can_resize())
    )


class Sandbox:
    """Made by `spawn`. Whatever ends it, nothing of it is left once `exited` is done."""

    def __init__(
        self,
        image: Image,
        limits: Limits,
        instance_id: str,
        *,
        process: Process,
        supervisor: Process | None,
        group: Group | None,
        uid: Uid | None,
        socket_path: Path,
        control: socket.socket,
        egress_listener: socket.socket,
        runtime: Runtime = BUBBLEWRAP,
        carrier: Carrier | None = None,
    ) -> None:
        self.image = image
        self.limits = limits
        self.instance_id = instance_id
        self.socket_path = socket_path
        self.control = control  # connected, non-blocking; the box closes it
        self.egress_listener = egress_listener  # the box closes it
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process = process
        self._supervisor = supervisor
        self._group = group
        self._uid = uid
        self.runtime = runtime
        self._carrier = carrier
        self._governor = None if self.level == "cgroup" else Governor(process, limits)
        self._started = start_time(process.pid)
        self._ending = asyncio.create_task(self._clear_up(), name=f"sandbox {instance_id}")

    @property
    def pid(self) -> int:
        """The machine's number of the sandbox's process 1."""
        return self._process.pid

    @property
    def record(self) -> Record:
        """For the box's journal."""
        group = self._group.name if self._group else ""
        return Record(
            *(self.instance_id, self.image.name, group, self.limits),
            *(self._process.pid, self._started),
        )

    @property
    def alive(self) -> bool:
        """Whether its processes are still there."""
        return self._process.alive

    @property
    def level(self) -> Level:
        """How memory, processes and cpu are limited: each by a control group, or by rlimits."""
        return "cgroup" if self._group and self._group.enforces >= WANTED else "rlimit"

    def usage(self) -> Usage:
        """Cpu seconds so far and memory bytes now."""
        return self._group.usage() if self._group else tree.usage(self.pid)

    def can_take(self, limits: Limits) -> bool:
        """Whether `set_limits` would do."""
        return can_become(self.limits, limits, self.runtime)

    def set_limits(self, limits: Limits) -> None:
        """New limits for the running instance.

        Raises HostError if the machine does not let us, or if more is in use already.
        """
        if not self.can_take(limits):
            raise HostError("a running sandbox keeps its open files, and here its disk too")
        try:
            if self._group:
                self._group.set(self.runtime.outer(limits))
            else:
                for pid in tree.descendants(self.pid):
                    rlimits.change(pid, self.image, limits)
            if (limits.disk, limits.inodes) != (self.limits.disk, self.limits.inodes):
                disk.resize(self.pid, limits.disk, limits.inodes)
        except OSError as error:
            raise HostError(f"the limits of a sandbox could not be changed: {error}") from error
        self.limits = limits
        if self._governor:
            self._governor.limits = limits

    async def kill(self) -> None:
        """Ends every process of the sandbox at once; returns when nothing of it is left."""
        priority.hurry()
        if self._group:
            self._group.unthrottle()
        self._process.kill()
        await asyncio.shield(self.exited)

    def abandon(self) -> None:
        """Leaves it running for the next bentod to `adopt`; here it is over."""
        self._ending.cancel()
        self.exited.cancel()
        for process in (self._process, self._supervisor):
            if process:
                process.forget()
        if self._governor:
            self._governor.cancel()
        if self._carrier:
            self._carrier.close()
        if self._uid:
            self._uid.leave()

    def close(self) -> None:
        """Closes the two sockets that were handed out; the sandbox itself is left alone."""
        self.control.close()
        self.egress_listener.close()

    async def _clear_up(self) -> None:
        await self._process.exited
        try:
            if self._governor:
                await self._governor.close()
            if self._supervisor:
                await self._supervisor.exited
            if self._group and self.runtime.is_oci:
                await self._group.kill_and_remove()  # a runtime's helpers too
            elif self._group:
                await self._group.remove()
        finally:
            if self._carrier:
                self._carrier.close()
            self.socket_path.unlink(missing_ok=True)
            if self._uid:
                self._uid.release()
            self.exited.set_result(None)
