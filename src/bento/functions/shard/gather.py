"""Stripes out of shards that come from several boxes at once.

`need` boxes are asked. One that fails, lies or lags is replaced by the next; who comes too late is left.
A stripe is given out as soon as `need` genuine fragments of it are here; nobody runs more than a
few stripes ahead, so memory is bounded by the number of boxes, not by the file.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bento.errors import AttestationError, BentoError, BoxError
from bento.functions.dropbox.transfer import fetching

from .layout import ShardReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from bento.client.box import Box
    from bento.client.conclave import Trust

    from .ticket import ShardTicket

    Connect = Callable[[bytes], AbstractAsyncContextManager[Box]]
    """From a box's fingerprint to a route of its own."""

AHEAD = 4
"""Stripes a box may be ahead of the one that is due."""

FIRST_SECONDS = 20.0
"""Until the first fragments: circuits are built, heads read."""

SLOWER = 4
"""A box that takes so many times as long as the stripes before gets a rival."""

LEAST_SECONDS = 2.0
"""No rival sooner: a pause of this length is nothing on a circuit."""


@dataclass
class Source:
    """One shard, being read."""

    number: int
    stripe: int  # the next one it brings
    fragments: dict[int, bytes] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    problem: str = ""
    refused: bool = False  # by the trust policy

    @property
    def alive(self) -> bool:
        return not self.problem


class Gathering:
    """The stripes of one file. `order`: the shards to use, best first; `trust`
    is asked where they are in conclaves. Use it as a context manager.

    `problems` tells, by the number of the shard, what was wrong with its box."""

    def __init__(
        self,
        ticket: ShardTicket,
        connect: Connect,
        name: bytes,
        order: Sequence[int],
        trust: Trust | None = None,
    ) -> None:
        self._trust = trust
        self._ticket = ticket
        self._plan = ticket.plan
        self._connect = connect
        self._name = name
        self._spare = list(order)
        self._sources: list[Source] = []
        self._due = 0
        self._changed = asyncio.Condition()
        self._usual = 0.0  # seconds of the slowest stripe so far

    @property
    def problems(self) -> dict[int, str]:
        return {source.number: source.problem for source in self._sources if source.problem}

    async def __aenter__(self) -> Gathering:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [source.task for source in self._sources if source.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stripes(self, first: int = 0) -> AsyncIterator[bytes]:
        """The sealed file's stripes from `first` on. Raises BoxError when too few boxes are left,
        AttestationError when the trust policy refused them all."""
        self._due = first
        for _ in range(self._plan.need):
            self._start()
        for stripe in range(first, self._plan.stripes):
            fragments = await self._fragments(stripe)
            size = self._plan.stripe_size(stripe)
            yield await asyncio.to_thread(self._plan.coder.decode, fragments, size)
            await self._advance(stripe + 1)

    async def _fragments(self, stripe: int) -> dict[int, bytes]:
        """`need` genuine fragments of a stripe."""
        began = time.monotonic()
        while True:
            self._keep_enough()
            if len(found := self._found(stripe)) == self._plan.need:
                self._usual = max(self._usual, time.monotonic() - began)
                return found
            try:
                async with asyncio.timeout(self._patience()), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                self._start()  # a rival for whoever is late

    def _patience(self) -> float:
        return max(SLOWER * self._usual, LEAST_SECONDS) if self._usual else FIRST_SECONDS

    def _found(self, stripe: int) -> dict[int, bytes]:
        having = [source for source in self._sources if stripe in source.fragments]
        return {s.number: s.fragments[stripe] for s in having[: self._plan.need]}

    def _keep_enough(self) -> None:
        """As many boxes at work as are needed. Raises BoxError when there are none to replace the bad."""
        while sum(source.alive for source in self._sources) < self._plan.need:
            if not self._start():
                refused = all(source.refused for source in self._sources if source.problem)
                raise (AttestationError if refused else BoxError)(
                    f"{self._plan.need} good shards are needed; {self._told()}",
                    "try later: what came so far is kept",
                )

    def _told(self) -> str:
        return "; ".join(f"shard {number}: {problem}" for number, problem in self.problems.items())

    def _start(self) -> bool:
        """Sets the next box to work, if there is one."""
        if not self._spare:
            return False
        source = Source(self._spare.pop(0), self._due)
        self._sources.append(source)
        source.task = asyncio.create_task(self._read(source))
        return True

    async def _advance(self, due: int) -> None:
        async with self._changed:
            self._due = due
            for source in self._sources:
                for stripe in [stripe for stripe in source.fragments if stripe < due]:
                    del source.fragments[stripe]
                if source.alive and source.stripe + AHEAD < due:
                    source.problem = "slow: it was overtaken"
                    assert source.task is not None
                    source.task.cancel()
            self._changed.notify_all()

    # -- one box ---------------------------------------------------------------------------------

    async def _read(self, source: Source) -> None:
        ticket = self._ticket.shards[source.number]
        try:
            async with self._connect(ticket.box) as box:
                await self._bring(source, box)
            problem = "" if source.stripe == self._plan.stripes else "it ended before its shard did"
        except BentoError as error:
            problem = error.detail
            source.refused = isinstance(error, AttestationError)
        except OSError as error:
            problem = f"the connection broke: {error.strerror}"
        async with self._changed:
            source.problem = source.problem or problem
            self._changed.notify_all()

    async def _bring(self, source: Source, box: Box) -> None:
        instance = box.instance(self._ticket.shards[source.number], trust=self._trust)
        reader = ShardReader(self._plan, source.number, self._ticket.root)
        offset = 0
        if source.stripe:
            head = self._plan.head_size
            async with fetching(instance, self._name, 0, head) as pieces:
                async for piece in pieces:
                    for _ in reader.feed(piece):
                        raise BoxError("it gave more than it was asked for")
            offset = self._plan.offset(source.stripe)
            reader.seek(source.stripe)
        async with fetching(instance, self._name, offset) as pieces:
            async for piece in pieces:
                for stripe, fragment in reader.feed(piece):
                    await self._bring_one(source, stripe, fragment)
                if source.stripe == self._plan.stripes:
                    await pieces.confirm()
                    return

    async def _bring_one(self, source: Source, stripe: int, fragment: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: stripe < self._due + AHEAD)
            if stripe >= self._due:
                source.fragments[stripe] = fragment
            source.stripe = stripe + 1
            self._changed.notify_all()
