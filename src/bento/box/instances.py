"""What runs on this box: every instance from its creation to the moment nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bento.box import leftovers
from bento.box.tokens import new_token, token_hash
from bento.egress.relay import Relay
from bento.errors import BoxError
from bento.protocol import control

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from bento.box.conclaves import Conclaves
    from bento.box.terms import Terms
    from bento.box.ways import Ways
    from bento.sandbox import Sandbox

_MINUTE = 60  # expiry is told in whole minutes: no client learns the box's clock to the second


@dataclass(eq=False)
class Instance:
    """One installed function. `name` is for the operator; it opens nothing."""

    name: str
    terms: Terms
    sandbox: Sandbox
    ways: Ways
    expires: int
    invocation: bytes = field(repr=False)  # hashes
    shutdown: bytes = field(repr=False)
    bytes_in: int = 0
    bytes_out: int = 0
    relays: set[Relay] = field(default_factory=set, repr=False)

    # A relay's gate: bytes are counted, none is held back.

    def allowance(self) -> int:
        return 1 << 30

    def wait(self, resume: Callable[[], None]) -> None:
        resume()

    def passed(self, count: int, outwards: bool) -> None:
        if outwards:
            self.bytes_in += count
        else:
            self.bytes_out += count


@dataclass(frozen=True)
class Grant:
    """What the client of a new instance is told, once."""

    instance: Instance
    invocation: bytes = field(repr=False)
    shutdown: bytes = field(repr=False)


class Instances:
    """The table. `take` gives a started-up sandbox for terms, `guard` the ways out of it,
    `conclaves` answers those that are one."""

    def __init__(
        self,
        run: Path,
        capacity: int,
        take: Callable[[Terms], Awaitable[Sandbox]],
        guard: Callable[[str, Terms], Ways],
        conclaves: Conclaves,
    ) -> None:
        self._run = run
        self.capacity = capacity
        self._take = take
        self._guard = guard
        self._conclaves = conclaves
        self._creating: Counter[str] = Counter()  # starts under way, by holder
        self._by_invocation: dict[bytes, Instance] = {}
        self._by_shutdown: dict[bytes, Instance] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._by_shutdown) + self._creating.total()

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._by_shutdown.values()))

    @property
    def load(self) -> int:
        """Percent of the capacity in use."""
        return min(100, math.ceil(100 * len(self) / self.capacity))

    def taken(self, holder: str) -> int:
        """How many places one part of the box has in use."""
        running = sum(one.terms.holder == holder for one in self._by_shutdown.values())
        return running + self._creating[holder]

    async def create(self, terms: Terms) -> Grant:
        """A new instance, started. Raises BoxError when the box is full, HostError when it fails."""
        if len(self) >= self.capacity:
            raise BoxError(
                f"the box runs {self.capacity} instances already", "try later, or another box"
            )
        self._creating[terms.holder] += 1  # until it stands in the table: no place is given twice
        try:
            sandbox = await self._take(terms)
            try:
                return await self._start(terms, sandbox)
            except BaseException:
                await sandbox.kill()
                raise
        finally:
            self._creating[terms.holder] -= 1

    async def _start(self, terms: Terms, sandbox: Sandbox) -> Grant:
        name = sandbox.instance_id
        expires = math.ceil((time.time() + terms.manifest.lifetime) / _MINUTE) * _MINUTE
        ways = self._guard(name, terms)
        assert sandbox.egress_listener is not None
        start = self._conclaves.bound(terms) + terms.start(expires)
        try:
            await ways.serve(sandbox.egress_listener)
            await asyncio.get_running_loop().sock_sendall(sandbox.control, start)
        except BaseException:
            await ways.close()
            raise
        self._conclaves.attend(sandbox)
        invocation, invocation_hash = new_token()
        shutdown, shutdown_hash = new_token()
        instance = Instance(name, terms, sandbox, ways, expires, invocation_hash, shutdown_hash)
        leftovers.note(self._run, name, sandbox.pid)
        self._by_invocation[invocation_hash] = instance
        self._by_shutdown[shutdown_hash] = instance
        task = asyncio.create_task(self._watch(instance))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Grant(instance, invocation, shutdown)

    def find(self, invocation: bytes) -> Instance:
        """The instance of an invocation token. Raises BoxError: one answer for wrong, spent and over."""
        instance = self._by_invocation.get(token_hash(invocation))
        if instance is None:
            raise _unknown()
        return instance

    async def shutdown(self, shutdown: bytes) -> None:
        """Ends the instance of a shutdown token; returns when nothing of it is left."""
        instance = self._by_shutdown.get(token_hash(shutdown))
        if instance is None:
            raise _unknown()
        await self.end(instance)

    async def end(self, instance: Instance) -> None:
        """Idempotent: the tokens stop working at once, then everything goes."""
        self._by_invocation.pop(instance.invocation, None)
        self._by_shutdown.pop(instance.shutdown, None)
        for relay in tuple(instance.relays):
            relay.abort()
        await instance.ways.close()
        await instance.sandbox.kill()
        await self._conclaves.leave(instance.sandbox)
        instance.sandbox.close()
        leftovers.forget(self._run, instance.name)

    async def close(self) -> None:
        await asyncio.gather(*(self.end(instance) for instance in self))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connect(self, instance: Instance) -> socket.socket:
        """A new session connection to the guest. Raises BoxError when the guest is gone."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, str(instance.sandbox.socket_path))
            await loop.sock_sendall(sock, control.SESSION)
        except OSError:
            sock.close()
            raise BoxError("the instance has ended", "install the function again") from None
        return sock

    def join(
        self, instance: Instance, client: socket.socket, guest: socket.socket, early: bytes
    ) -> None:
        """From here the bytes are the client's and the guest's own."""
        relay = Relay(
            client,
            guest,
            instance,
            idle_seconds=instance.terms.manifest.lifetime,
            early=early,
            done=lambda: instance.relays.discard(relay),
        )
        instance.relays.add(relay)

    async def _watch(self, instance: Instance) -> None:
        """Ends the instance at its expiry, or cleans up when its sandbox ended by itself."""
        left = instance.expires - time.time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(instance.sandbox.exited), max(left, 0))
        await self.end(instance)


def _unknown() -> BoxError:
    return BoxError(
        "the box knows no such token",
        "the instance has ended, or the token was never one of this box's",
    )
