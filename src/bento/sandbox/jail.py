"""A jail that stands: namespaces, mounts, filter, limits; all but somebody inside.

    jail = await Jail.build(image, limits, run_dir)        about 7 ms, ahead of time
    sandbox = await jail.enter(name, guest_blob)           what Python takes to start

bubblewrap's process inside waits at a gate, right before it becomes the interpreter. Such a jail
costs a tenth of a waiting guest's memory, so a pool that has run empty still has one.

    1  a user id; a control group with limits; the socket and the files that will be inherited
    2  the jailer's child enters both and becomes bubblewrap, which builds the jail and waits
    3  `enter` gives the way in its name, writes down the guest runtime, and opens the gate
    4  the loader inside seals the filter and runs the runtime
    5  the guest says "ready" on the control connection, with the egress listener attached
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TypeVar

from bento.errors import HostError, UsageError
from bento.sandbox import cgroup, handshake, hierarchies, priority, uids
from bento.sandbox.carrier import Carrier
from bento.sandbox.descriptors import MemoryFile, Pipe
from bento.sandbox.images import Image
from bento.sandbox.launch import Inherited, launch
from bento.sandbox.limits import Limits
from bento.sandbox.process import Process
from bento.sandbox.runtimes import BUBBLEWRAP, Runtime
from bento.sandbox.sandbox import Sandbox

T = TypeVar("T")

_SOCKET_PATH_LIMIT = 107  # bytes of sun_path less its final NUL, unix(7)
_BACKLOG = 128
_BUILT_WITHIN = 30.0  # seconds; it takes 7 ms, so this only ends what hangs
_READY_WITHIN = 30.0  # the same for 10 ms


class Jail:
    """Made by `build`; used up by `enter` or `demolish`."""

    def __init__(
        self, image: Image, limits: Limits, run_dir: Path, runtime: Runtime = BUBBLEWRAP
    ) -> None:
        priority.hurry()
        self.image = image
        self.runtime = runtime
        self.limits = limits
        self._run_dir = run_dir
        self._brief = ExitStack()  # closed once the guest is ready
        self._undo = AsyncExitStack()  # unless it never is
        try:
            self._hold()
        except OSError as error:
            self._brief.close()
            raise HostError(f"no jail can be built: {error}") from error

    def _hold(self) -> None:
        self._words = self._brief.enter_context(MemoryFile())
        self._runtime = self._brief.enter_context(MemoryFile())
        self._gate = self._brief.enter_context(Pipe())
        self._way_in = self._brief.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        self._carrier = Carrier() if self.runtime.carried else None
        if self._carrier:
            self._undo.callback(self._carrier.close)
        self._uid: uids.Uid | None = None
        self._group: cgroup.Group | None = None
        self._supervisor: Process | None = None
        self._process: Process | None = None

    @classmethod
    async def build(
        cls, image: Image, limits: Limits, run_dir: Path, runtime: Runtime = BUBBLEWRAP
    ) -> Jail:
        """For the box whose own folder (mode 0700) is `run_dir`.

        Raises HostError if the machine cannot do it, with the runtime's last words."""
        jail = cls(image, limits, run_dir, runtime)
        await jail._or_demolish(jail._build())
        return jail

    @classmethod
    async def build_and_enter(
        cls,
        image: Image,
        limits: Limits,
        run_dir: Path,
        instance_id: str,
        guest_blob: bytes,
        runtime: Runtime = BUBBLEWRAP,
    ) -> Sandbox:
        """Both at once: the gate is open from the first, so that nothing waits for us."""
        jail = cls(image, limits, run_dir, runtime)

        async def both() -> Sandbox:
            control = jail._open(instance_id, guest_blob)
            await jail._build()
            return await jail._ready(control, instance_id)

        return await jail._or_demolish(both())

    @property
    def alive(self) -> bool:
        """Whether it still stands."""
        return self._process is not None and self._process.alive

    async def enter(self, instance_id: str, guest_blob: bytes) -> Sandbox:
        """The sandbox, its guest runtime ready.

        `guest_blob` is a marshalled code object of /usr/bin/python3. Raises HostError with the
        runtime's last words; nothing is left then.
        """

        async def entered() -> Sandbox:
            return await self._ready(self._open(instance_id, guest_blob), instance_id)

        return await self._or_demolish(entered())

    async def demolish(self) -> None:
        """Ends it; nothing is left."""
        await self._undo.aclose()
        self._brief.close()

    async def _or_demolish(self, work: Coroutine[None, None, T]) -> T:
        try:
            with self._explained():
                return await work
        except BaseException:
            await self.demolish()
            raise

    async def _build(self) -> None:
        if os.geteuid() == 0:
            self._uid = uids.claim()
            self._undo.callback(self._uid.release)
        if hierarchies.ours():
            self._group = cgroup.Group.create(
                cgroup.new_name(self._run_dir), self.runtime.starting(self.limits)
            )
            self._undo.push_async_callback(self._group.kill_and_remove)
        inherited = Inherited(
            (self._carrier.theirs if self._carrier else self._way_in).fileno(),
            *(self._runtime.descriptor, self._words.descriptor),
            self._gate.reader,
        )
        async with asyncio.timeout(_BUILT_WITHIN):
            self._supervisor, pid = await launch(
                *(self.image, self.limits, self._uid, self._group, inherited, self.runtime)
            )
        self._undo.push_async_callback(self._supervisor.end)
        self._process = Process(pid)
        self._undo.push_async_callback(self._process.end)
        if self._uid:
            self._uid.bind(pid)

    def _path(self, instance_id: str) -> Path:
        return self._run_dir / f"{instance_id}.sock"

    def _open(self, instance_id: str, guest_blob: bytes) -> socket.socket:
        """Gives the way in its name and opens the gate; the control connection."""
        path = self._path(instance_id)
        if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
            raise UsageError(f"the socket path {path} is too long", "use a shorter folder")
        self._way_in.bind(os.fspath(path))
        self._undo.callback(path.unlink, missing_ok=True)
        self._way_in.listen(_BACKLOG)
        control = handshake.connect(path)
        self._undo.callback(control.close)
        self._runtime.write(guest_blob)
        self._runtime.seal()
        self._gate.close_writer()
        return control

    async def _ready(self, control: socket.socket, instance_id: str) -> Sandbox:
        assert self._process is not None
        async with asyncio.timeout(_READY_WITHIN):
            egress_listener = await self._egress_listener(control, self._path(instance_id))
        self._undo.callback(egress_listener.close)
        if self._group and self.runtime.is_oci:
            self._group.set(self.runtime.outer(self.limits))
        sandbox = Sandbox(
            self.image,
            self.limits,
            instance_id,
            process=self._process,
            supervisor=self._supervisor,
            group=self._group,
            uid=self._uid,
            socket_path=self._path(instance_id),
            control=control,
            egress_listener=egress_listener,
            runtime=self.runtime,
            carrier=self._carrier,
        )
        self._brief.close()
        self._undo.pop_all()
        return sandbox

    async def _egress_listener(self, control: socket.socket, path: Path) -> socket.socket:
        if self._carrier is None:
            self._way_in.close()  # the sandbox alone holds it now: its end is ours to see
            return await handshake.ready(control)
        listener = self._carrier.open(path, self._way_in.dup())
        try:
            await handshake.carried_ready(control)
        except BaseException:
            listener.close()
            raise
        return listener

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what can go wrong into HostError with the last line that the sandbox wrote."""
        try:
            yield
        except (OSError, TimeoutError, HostError) as error:
            reason = self._words.last_line or str(error)
            raise HostError(
                f"a sandbox of image {self.image.name} did not start: {reason}",
                "bentod check tells what this machine lacks",
            ) from error
