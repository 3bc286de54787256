"""What runs on this box: every instance from its creation to the moment nothing of it is left.

The journal comes first each time: a guest is started once its row is written, its client is answered
after that, and an end is written before anything is killed. So a bentod that dies at any moment
leaves only what the next one knows of.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from typing import TYPE_CHECKING

from bento.box.instance import Grant, Instance, Visit
from bento.box.passage import Passage
from bento.box.terms import Terms
from bento.box.tokens import drained, spent, unknown
from bento.egress.relay import Relay
from bento.errors import BoxError, BusyError, HostError
from bento.protocol import control, limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, INVOKE, SHUTDOWN
from bento.protocol.manifest import Manifest
from bento.safelog import Event, Fault, Sensitive, log
from bento.sandbox import adopt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from pathlib import Path

    from bento.box.conclaves import Conclaves
    from bento.box.journal import Entry, Journal
    from bento.box.ledger import Ledger
    from bento.box.tokens import Leave, Tokens
    from bento.box.uplink import Uplink
    from bento.box.ways import Ways
    from bento.protocol.door import Open, Shutdown
    from bento.sandbox import Sandbox

_INSTALLER = control.opening(control.MAY_INVOKE | control.MAY_ATTACH, control.ANY_SESSION)
_RETRY_SECONDS = 5
_PIPES = 128  # connections at most to one instance: each of its 64 sessions, and its replacement
_MINUTE = 60  # expiry is told in whole minutes: no client learns the box's clock to the second

_TAKE_OVER_SECONDS = 0.5  # that a start waits for guests; slow and mute ones are waited for later
_COUNT_SECONDS = 30.0  # between two notes of the bytes counted


class Instances:
    """The table. `take` gives a started-up sandbox for terms, `guard` the ways out of it,
    `conclaves` answers those that are one; `tokens` makes and checks capabilities, `ledger` counts
    their uses; `uplink` shares out what passes between clients and them.

    With `keep`, closing the table leaves the instances running for the next bentod."""

    def __init__(
        self,
        journal: Journal,
        run: Path,
        capacity: int,
        take: Callable[[Terms], Awaitable[Sandbox]],
        guard: Callable[[str, Terms], Ways],
        conclaves: Conclaves,
        tokens: Tokens,
        ledger: Ledger,
        uplink: Uplink,
    ) -> None:
        self.keep = True
        self.capacity = capacity
        self._journal = journal
        self._run = run
        self._take = take
        self._guard = guard
        self._conclaves = conclaves
        self._tokens = tokens
        self._ledger = ledger
        self._uplink = uplink
        self._creating: list[Terms] = []  # of starts under way
        self._moved_by_ended = [0, 0]  # bytes in and out
        self._by_token: dict[bytes, Instance] = {}
        self._returning: dict[bytes, tuple[Entry, asyncio.Task[None]]] = {}  # by token too
        self._noted: dict[str, tuple[int, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()  # cancelled at the end
        self._ending: set[asyncio.Task[None]] = set()
        self._spawn(self._keep_counting(), self._lasting)

    def __len__(self) -> int:
        return len(self._by_token) + len(self._creating) + len(self._returning)

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._by_token.values()))

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes from clients and to clients since the box was started."""
        ended_in, ended_out = self._moved_by_ended
        return (
            ended_in + sum(instance.bytes_in for instance in self),
            ended_out + sum(instance.bytes_out for instance in self),
        )

    @property
    def load(self) -> int:
        """Percent of the capacity in use."""
        return min(100, math.ceil(100 * len(self) / self.capacity))

    def taken(self, holder: str) -> int:
        """How many places one part of the box has in use."""
        return sum(1 for _ in self._of(holder))

    def promised(self, holder: str) -> int:
        """How many bytes of memory its instances may use, by their manifests."""
        return sum(manifest.memory for manifest in self._of(holder))

    def _of(self, holder: str) -> Iterator[Manifest]:
        for terms in (*self._creating, *(one.terms for one in self._by_token.values())):
            if terms.holder == holder:
                yield terms.manifest
        for entry, _ in self._returning.values():
            if entry.holder == holder:
                yield Manifest.parse(entry.manifest)

    # -- the beginning ---------------------------------------------------------------------------

    async def create(self, terms: Terms) -> Grant:
        """A new instance, started. Raises BoxError when the box is full, HostError when it fails."""
        if len(self) >= self.capacity:
            raise BoxError(
                f"the box runs {self.capacity} instances already", "try later, or another box"
            )
        self._creating.append(terms)  # until it stands in the table: no place is given twice
        try:
            sandbox = await self._take(terms)
            return await self._start(terms, sandbox)
        finally:
            self._creating.remove(terms)

    async def _start(self, terms: Terms, sandbox: Sandbox) -> Grant:
        name = sandbox.instance_id
        expires = math.ceil((time.time() + terms.manifest.lifetime) / _MINUTE) * _MINUTE
        token, invocation, shutdown = self._tokens.mint(terms.function)
        share = self._uplink.share(terms.holder)
        instance = Instance(name, terms, sandbox, self._guard(name, terms), expires, token, share)
        start = self._conclaves.bound(terms) + terms.start(expires)
        try:
            await instance.ways.serve(sandbox.egress_listener)
            await self._journal.add(instance.entry)
            await asyncio.get_running_loop().sock_sendall(sandbox.control, start)
        except BaseException:
            await self.end(instance)
            raise
        self._put(instance)
        return Grant(instance, Sensitive(invocation.encode()), Sensitive(shutdown.encode()))

    async def take_over(self, entries: Iterable[Entry]) -> None:
        """Serves on what an earlier bentod left running; ends what was about to end.

        Returns once each has answered, or has been waited for long enough: a function can keep its
        guest silent. Whoever asks for such a one waits for it."""
        for entry in entries:
            self._returning[entry.token] = entry, self._spawn(self._take_over(entry), self._lasting)
        if tasks := [task for _, task in self._returning.values()]:
            await asyncio.wait(tasks, timeout=_TAKE_OVER_SECONDS)
            log(Event.TAKEN_OVER, count=len(self._by_token))

    async def _take_over(self, entry: Entry) -> None:
        try:
            sandbox = await adopt(entry.record, self._run)
        except HostError:  # it has ended meanwhile
            await self._note(self._journal.forget(entry.name))
        else:
            await self._go_on(entry, sandbox)
        finally:
            del self._returning[entry.token]

    async def _go_on(self, entry: Entry, sandbox: Sandbox) -> None:
        terms = Terms.read(entry.manifest, entry.function, entry.upload, entry.holder)
        ways = self._guard(entry.name, terms)
        instance = Instance.again(entry, terms, sandbox, ways, self._uplink.share(entry.holder))
        try:
            if not entry.ending:
                await ways.serve(sandbox.egress_listener)
                self._put(instance)
                return
        except HostError:  # its guest withholds a listener
            pass
        await self.end(instance)

    def _put(self, instance: Instance) -> None:
        self._by_token[instance.token] = instance
        self._conclaves.attend(instance.sandbox)
        self._spawn(self._watch(instance), self._lasting)

    # -- the use ---------------------------------------------------------------------------------

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
        await self._returned(request)
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
            with _counting():
                await self._count(visit, leave, request.session, early)
        except BaseException:
            await self.leave(visit)
            raise
        return visit

    async def _count(self, visit: Visit, leave: Leave, session: bytes, early: int) -> None:
        if visit.passage is not None and not await visit.passage.admit(early):
            raise drained()
        await self._spend(visit.instance, leave, session)
        if visit.instance.token not in self._by_token:
            raise unknown()  # it ended meanwhile

    async def _spend(self, instance: Instance, leave: Leave, session: bytes) -> None:
        if leave.uses and not await self._ledger.spend(instance.name, leave.uses, session):
            raise spent()

    async def leave(self, visit: Visit) -> None:
        """Undoes a visit that nobody came to."""
        visit.guest.close()
        if visit.passage is not None:
            await visit.passage.put_back()

    async def enter(
        self, instance: Instance, opening: bytes = _INSTALLER, leave: Leave | None = None
    ) -> Visit:
        """A connection to the guest within `leave`. Raises BoxError when the guest is gone."""
        guest = await self.connect(instance, opening)
        if leave is None or not leave.bounded:
            return Visit(instance, guest, creator=leave is None)
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
        """From here the bytes are the client's and the guest's own.

        A creator that leaves without a byte never heard of its instance: it is ended."""
        instance, passage = visit.instance, visit.passage

        def done() -> None:
            instance.relays.discard(relay)
            if passage is not None:
                passage.ended()
            if visit.creator and not instance.bytes_in and instance.token in self._by_token:
                self._spawn(self.end(instance))

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

    # -- the end ---------------------------------------------------------------------------------

    async def shutdown(self, request: Shutdown) -> None:
        """Ends the instance of a shutdown token; returns when nothing of it is left."""
        await self._returned(request)
        instance, leave = self.check(request, SHUTDOWN)
        with _counting():
            await self._spend(instance, leave, bytes(limits.SESSION_TAG))
        await self.end(instance)

    async def end(self, instance: Instance) -> None:
        """Idempotent: the tokens stop working at once, then everything goes."""
        if instance.ending is None:
            instance.ending = self._spawn(self._end(instance), self._ending)
        await asyncio.shield(instance.ending)

    async def _end(self, instance: Instance) -> None:
        self._drop(instance)
        await self._note(self._journal.ending(instance.name))
        await instance.ways.close()
        await instance.sandbox.kill()
        await self._conclaves.leave(instance.sandbox)
        instance.sandbox.close()
        await self._note(self._journal.forget(instance.name))

    def _drop(self, instance: Instance) -> None:
        if self._by_token.pop(instance.token, None) is not None:
            self._moved_by_ended[0] += instance.bytes_in
            self._moved_by_ended[1] += instance.bytes_out
        for relay in tuple(instance.relays):
            relay.abort()

    async def close(self) -> None:
        """Ends every instance, or lets go of it if they are to be kept."""
        if not self.keep:
            returning = [task for _, task in self._returning.values()]
            await asyncio.gather(*returning, return_exceptions=True)
            await asyncio.gather(*map(self.end, self))
        await asyncio.gather(*self._ending)
        await self._note(self._count_bytes())
        await asyncio.gather(*map(self._let_go, self))
        for task in self._lasting:
            task.cancel()
        await asyncio.gather(*self._lasting, *self._tasks, return_exceptions=True)

    async def _let_go(self, instance: Instance) -> None:
        self._drop(instance)
        await instance.ways.close()
        instance.sandbox.abandon()
        await self._conclaves.leave(instance.sandbox)
        instance.sandbox.close()

    async def _watch(self, instance: Instance) -> None:
        """Ends the instance at its expiry, or cleans up when its sandbox ended by itself."""
        left = instance.expires - time.time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(instance.sandbox.exited), max(left, 0))
        await self.end(instance)

    # -- small things ----------------------------------------------------------------------------

    async def _returned(self, request: Open | Shutdown) -> None:
        """Waits for the token's instance, if it is being taken over."""
        returning = self._returning.get(Capability.parse(request.token).name)
        if returning is not None:
            await asyncio.wait([returning[1]])

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            await self._note(self._count_bytes())

    async def _count_bytes(self) -> None:
        totals = {each.name: (each.bytes_in, each.bytes_out) for each in self}
        changed = {name: both for name, both in totals.items() if self._noted.get(name) != both}
        if changed:
            await self._journal.count(changed)
        self._noted = totals

    async def _note(self, writing: Coroutine[None, None, None]) -> None:
        """What is done whether or not it can be written down: the end of a process speaks for itself,
        as the next bentod looks for it in vain."""
        try:
            await writing
        except HostError as error:
            log(Event.JOURNAL_FAILED, fault=Fault.of(error))

    def _spawn(
        self, work: Coroutine[None, None, None], group: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        group = self._tasks if group is None else group
        group.add(task)
        task.add_done_callback(group.discard)
        return task


@contextlib.contextmanager
def _counting() -> Iterator[None]:
    """What is wrong with this machine is its operator's to know."""
    try:
        yield
    except HostError as error:
        log(Event.JOURNAL_FAILED, fault=Fault.of(error))
        raise BoxError("the box cannot count this use now", "try again later") from error
