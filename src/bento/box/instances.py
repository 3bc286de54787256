"""What runs on this box: every instance from its creation to the moment nothing of it is left.

The journal comes first each time: a guest is started once its row is written, its client is answered
after that, and an end is written before anything is killed. So a bentod that dies at any moment
leaves only what the next one knows of.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from bento.box.instance import Grant, Instance
from bento.box.terms import Terms
from bento.errors import BoxError, HostError
from bento.protocol.manifest import Manifest
from bento.safelog import Event, Fault, Sensitive, log
from bento.sandbox import adopt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path

    from bento.box.boxes_way import Keep
    from bento.box.children import Kept
    from bento.box.conclaves import Conclaves
    from bento.box.journal import Entry, Journal
    from bento.box.tokens import Tokens
    from bento.box.uplink import Uplink
    from bento.box.ways import Ways
    from bento.protocol.capability import Capability
    from bento.sandbox import Sandbox

_MINUTE = 60  # expiry is told in whole minutes: no client learns the box's clock to the second

_TAKE_OVER_SECONDS = 0.5  # that a start waits for guests; slow and mute ones are waited for later
_COUNT_SECONDS = 30.0  # between two notes of the bytes counted


class Instances:
    """The table. `take` gives a started-up sandbox for terms, `guard` the ways out of it,
    `conclaves` answers those that are one; `tokens` makes their capabilities; `uplink` shares out
    what passes between clients and them. How they are used: `visits`.

    With `keep`, closing the table leaves the instances running for the next bentod."""

    def __init__(
        self,
        journal: Journal,
        run: Path,
        capacity: int,
        take: Callable[[Terms], Awaitable[Sandbox]],
        guard: Callable[[str, Terms, int, Keep, Sequence[Kept]], Ways],
        conclaves: Conclaves,
        tokens: Tokens,
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
        self._uplink = uplink
        self._creating: list[Terms] = []  # of starts under way
        self._moved_by_ended = [0, 0]  # bytes in and out
        self._by_token: dict[bytes, Instance] = {}
        self._returning: dict[bytes, tuple[Entry, asyncio.Task[None]]] = {}  # by token too
        self._noted: dict[str, tuple[int, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()  # cancelled at the end
        self._ending: set[asyncio.Task[None]] = set()
        self.spawn(self._keep_counting(), self._lasting)

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

    def reserve(self) -> Capability:
        """The token that will end an instance, before there is one."""
        return self._tokens.reserve()

    async def create(self, terms: Terms, reserved: Capability | None = None) -> Grant:
        """A new instance, started; with the name of its tokens, if it was `reserved`. Raises BoxError when
        the box is full, HostError when it fails."""
        if len(self) >= self.capacity:
            raise BoxError(
                f"the box runs {self.capacity} instances already", "try later, or another box"
            )
        self._creating.append(terms)  # until it stands in the table: no place is given twice
        try:
            sandbox = await self._take(terms)
            return await self._start(terms, sandbox, reserved)
        finally:
            self._creating.remove(terms)

    async def _start(self, terms: Terms, sandbox: Sandbox, reserved: Capability | None) -> Grant:
        name = sandbox.instance_id
        expires = math.ceil((time.time() + terms.manifest.lifetime) / _MINUTE) * _MINUTE
        token, invocation, shutdown = self._tokens.mint(terms.function, reserved)
        share = self._uplink.share(terms.holder)
        ways = self._guard(name, terms, expires, partial(self._journal.keep_children, name), ())
        measured = self._conclaves.measured(terms)
        instance = Instance(*(name, terms, sandbox, ways, expires, token, share), measured=measured)
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
            self._returning[entry.token] = entry, self.spawn(self._take_over(entry), self._lasting)
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
        keep = partial(self._journal.keep_children, entry.name)
        ways = self._guard(entry.name, terms, entry.expires, keep, entry.children)
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
        self._conclaves.attend(instance.sandbox, instance.measured)
        self.spawn(self._watch(instance), self._lasting)

    # -- looking up ------------------------------------------------------------------------------

    def __contains__(self, instance: Instance) -> bool:
        return instance.token in self._by_token

    def named(self, token: bytes) -> Instance | None:
        """The instance whose tokens have this name."""
        return self._by_token.get(token)

    async def returned(self, token: bytes) -> None:
        """Waits for the instance of that name, if it is being taken over."""
        returning = self._returning.get(token)
        if returning is not None:
            await asyncio.wait([returning[1]])

    # -- the end ---------------------------------------------------------------------------------

    async def end(self, instance: Instance) -> None:
        """Idempotent: the tokens stop working at once, then everything goes."""
        if instance.ending is None:
            instance.ending = self.spawn(self._end(instance), self._ending)
        await asyncio.shield(instance.ending)

    async def _end(self, instance: Instance) -> None:
        self._drop(instance)
        self.spawn(instance.ways.end_children())
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
        """Ends the instance at its expiry or when nobody renewed its lease, or cleans up when its
        sandbox ended by itself."""
        exited = instance.sandbox.exited
        while not exited.done() and (left := instance.left) > 0:
            await asyncio.wait([exited], timeout=left)
        if not exited.cancelled():  # or it is another bentod's from now on
            await self.end(instance)

    # -- small things ----------------------------------------------------------------------------

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

    def spawn(
        self, work: Coroutine[None, None, None], group: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        """Keeps a task until it is done; closing the table waits for it."""
        task = asyncio.create_task(work)
        group = self._tasks if group is None else group
        group.add(task)
        task.add_done_callback(group.discard)
        return task
