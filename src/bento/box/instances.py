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
from bento.box.passage import Passage
from bento.box.tokens import drained, spent, unknown
from bento.egress.relay import Relay
from bento.errors import BoxError, BusyError
from bento.protocol import control, limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, INVOKE, SHUTDOWN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path

    from bento.box.conclaves import Conclaves
    from bento.box.ledger import Ledger
    from bento.box.terms import Terms
    from bento.box.tokens import Leave, Tokens
    from bento.box.ways import Ways
    from bento.protocol.door import Open, Shutdown
    from bento.sandbox import Sandbox

_INSTALLER = control.opening(control.MAY_INVOKE | control.MAY_ATTACH, control.ANY_SESSION)
_RETRY_SECONDS = 5
_PIPES = 128  # connections at most to one instance: each of its 64 sessions, and its replacement
_MINUTE = 60  # expiry is told in whole minutes: no client learns the box's clock to the second


@dataclass(eq=False)
class Instance:
    """One installed function. `name` is for the operator; it opens nothing."""

    name: str
    terms: Terms
    sandbox: Sandbox
    ways: Ways
    expires: int
    token: bytes  # the name its tokens have in common; it opens nothing
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


@dataclass(frozen=True)
class Visit:
    """A connection to an instance's guest, and what the token that opened it still bounds."""

    instance: Instance
    guest: socket.socket
    passage: Passage | None = None


class Instances:
    """The table. `take` gives a started-up sandbox for terms, `guard` the ways out of it,
    `conclaves` answers those that are one; `tokens` makes and checks capabilities, `ledger` counts
    their uses."""

    def __init__(
        self,
        run: Path,
        capacity: int,
        take: Callable[[Terms], Awaitable[Sandbox]],
        guard: Callable[[str, Terms], Ways],
        conclaves: Conclaves,
        tokens: Tokens,
        ledger: Ledger,
    ) -> None:
        self._run = run
        self.capacity = capacity
        self._take = take
        self._guard = guard
        self._conclaves = conclaves
        self._tokens = tokens
        self._ledger = ledger
        self._creating: Counter[str] = Counter()  # starts under way, by holder
        self._by_token: dict[bytes, Instance] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._by_token) + self._creating.total()

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._by_token.values()))

    @property
    def load(self) -> int:
        """Percent of the capacity in use."""
        return min(100, math.ceil(100 * len(self) / self.capacity))

    def taken(self, holder: str) -> int:
        """How many places one part of the box has in use."""
        running = sum(one.terms.holder == holder for one in self._by_token.values())
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
        token, invocation, shutdown = self._tokens.mint(terms.function)
        instance = Instance(name, terms, sandbox, ways, expires, token)
        leftovers.note(self._run, name, sandbox.pid)
        self._by_token[token] = instance
        self._spawn(self._watch(instance))
        return Grant(instance, invocation.encode(), shutdown.encode())

    def check(self, request: Open | Shutdown, operations: int) -> tuple[Instance, Leave]:
        """The instance of a token and what the token allows there. Raises BoxError."""
        token = Capability.parse(request.token)
        instance = self._by_token.get(token.name)
        function = instance.terms.function if instance else None
        leave = self._tokens.check(token, function, request, operations)
        assert instance is not None
        return instance, leave

    async def visit(self, request: Open, early: int) -> Visit:
        """A connection to the guest of a token's instance, the use of the token counted; `early` bytes
        came with the request. Raises BoxError."""
        instance, leave = self.check(request, INVOKE | ATTACH)
        if len(instance.relays) >= _PIPES:
            raise BusyError(
                f"the instance has {_PIPES} connections already",
                "end some sessions, or try again later",
                wait=_RETRY_SECONDS,
            )
        rights = leave.operations | (control.COUNTED if leave.uses else 0)
        visit = await self.enter(instance, control.opening(rights, request.session), leave)
        try:
            await self._count(visit, leave, request.session, early)
        except BaseException:
            await self.leave(visit)
            raise
        return visit

    async def _count(self, visit: Visit, leave: Leave, session: bytes, early: int) -> None:
        if visit.passage is not None and not await visit.passage.admit(early):
            raise drained()
        name = visit.instance.name
        if leave.uses and not await self._ledger.spend(name, leave.uses, session):
            raise spent()
        if visit.instance.token not in self._by_token:
            raise unknown()  # it ended meanwhile

    async def leave(self, visit: Visit) -> None:
        """Undoes a visit that nobody came to."""
        visit.guest.close()
        if visit.passage is not None:
            await visit.passage.put_back()

    async def shutdown(self, request: Shutdown) -> None:
        """Ends the instance of a shutdown token; returns when nothing of it is left."""
        instance, leave = self.check(request, SHUTDOWN)
        tag = bytes(limits.SESSION_TAG)
        if leave.uses and not await self._ledger.spend(instance.name, leave.uses, tag):
            raise spent()
        await self.end(instance)

    async def end(self, instance: Instance) -> None:
        """Idempotent: the tokens stop working at once, then everything goes."""
        self._by_token.pop(instance.token, None)
        for relay in tuple(instance.relays):
            relay.abort()
        await instance.ways.close()
        await instance.sandbox.kill()
        await self._conclaves.leave(instance.sandbox)
        instance.sandbox.close()
        leftovers.forget(self._run, instance.name)
        await self._ledger.forget(instance.name)

    async def close(self) -> None:
        await asyncio.gather(*(self.end(instance) for instance in self))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def enter(
        self, instance: Instance, opening: bytes = _INSTALLER, leave: Leave | None = None
    ) -> Visit:
        """A connection to the guest within `leave`. Raises BoxError when the guest is gone."""
        guest = await self.connect(instance, opening)
        if leave is None or not leave.bounded:
            return Visit(instance, guest)
        passage = Passage(leave, instance.name, instance, self._ledger, self._spawn)
        return Visit(instance, guest, passage)

    async def connect(self, instance: Instance, opening: bytes) -> socket.socket:
        """A new session connection to the guest. Raises BoxError when the guest is gone."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, str(instance.sandbox.socket_path))
            await loop.sock_sendall(sock, opening)
        except OSError:
            sock.close()
            raise BoxError("the instance has ended", "install the function again") from None
        return sock

    def join(self, visit: Visit, client: socket.socket, early: bytes) -> None:
        """From here the bytes are the client's and the guest's own."""
        instance, passage = visit.instance, visit.passage

        def done() -> None:
            instance.relays.discard(relay)
            if passage is not None:
                passage.ended()

        relay = Relay(
            client,
            visit.guest,
            passage or instance,
            idle_seconds=instance.terms.manifest.lifetime,
            early=early,
            done=done,
        )
        instance.relays.add(relay)
        if passage is not None:
            passage.watch(relay)

    async def _watch(self, instance: Instance) -> None:
        """Ends the instance at its expiry, or cleans up when its sandbox ended by itself."""
        left = instance.expires - time.time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(instance.sandbox.exited), max(left, 0))
        await self.end(instance)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
