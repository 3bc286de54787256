"""The front: owns the address, and sends each visitor that comes to a replica.

    INTRODUCE2  ->  `fleet` decides  ->  record to a replica  ->  Joined, or another one tries
    a replica is wanted  ->  `start(number)` gives a channel to it, however it comes up
    a replica reports, falls silent, ends  ->  `fleet` decides again

All decisions are `fleet`'s; here is only what carries them out. The front never sees a stream: the
replica makes its own half of the keys (`onion.handover`). What it keeps of a visitor is its record,
until a replica has joined it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bento.errors import BentoError
from bento.functions.balancer.fleet import (
    Action,
    Fleet,
    GiveUp,
    HandOver,
    Options,
    Start,
    State,
    Stop,
)
from bento.functions.balancer.links import ReplicaLink
from bento.functions.balancer.messages import Failed, Join, Joined, Message, Ready, Report
from bento.onion.service import OnionService, ServiceOptions

if TYPE_CHECKING:
    from bento.functions.balancer.replica import Channel
    from bento.onion.blinding import OnionIdentity
    from bento.onion.handover import Rendezvous
    from bento.onion.network import Network

    StartReplica = Callable[[int], Awaitable[Channel]]
    """A new replica's channel; OSError or BentoError when it did not come up."""

TICK_SECONDS = 1.0

START_SECONDS = 25.0
"""A replica whose channel does not stand by then has failed: another one has time while its visitors wait."""

FILL_SECONDS = 300.0
"""The same for its word that it serves: all content must reach it."""


LOOKUPS = 100
"""Visitors whose region is asked for at once; others have none."""


@dataclass(frozen=True)
class Content:
    """What each replica is to show. `kind` is of `site`."""

    kind: int
    data: bytes = field(repr=False)


@dataclass
class Counters:
    """Since the start of the front."""

    visitors: int = 0
    joined: int = 0
    retried: int = 0
    given_up: int = 0
    started: int = 0
    start_failed: int = 0
    lost: int = 0
    spared: int = 0
    """Replicas that were let go, as they were not needed any more."""


class Regions(Protocol):
    """Where somebody stands, in words that are compared; "" if that is not known."""

    async def of_visitor(self, visitor: Rendezvous) -> str: ...
    async def of_replica(self, number: int) -> str: ...


class Front:
    """One service. `start` it, wait for `published`, end it with `close`."""

    def __init__(
        self,
        identity: OnionIdentity,
        network: Network,
        start: StartReplica,
        content: Content,
        options: Options | None = None,
        *,
        service: ServiceOptions | None = None,
        kept_points: bytes = b"",
        regions: Regions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self.service = OnionService(identity, network, self.on_client, service, kept_points)
        self.address = identity.address
        self._fleet = Fleet(options or Options())
        self._start_replica = start
        self._content = content
        self._regions = regions
        self._region: dict[int, str] = {}  # of a replica that starts
        self._clock = clock
        self._waiting: dict[int, bytes] = {}
        self._handed: dict[int, int] = {}
        self._links: dict[int, ReplicaLink] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = 0
        self._ticking: asyncio.Task[None] | None = None
        self._next = 0
        self._closing = False

    async def start(self) -> None:
        """Begins to serve; returns at once."""
        await self.service.start()
        self._ticking = asyncio.ensure_future(self._tick())

    async def close(self) -> None:
        """Ends the points and all replicas, and the streams these serve."""
        self._closing = True
        if self._ticking is not None:
            self._ticking.cancel()
        await self.service.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in tuple(self._links.values())))

    async def retire(self) -> None:
        """Lets nobody in any more; returns when everybody who is served has left."""
        self._closing = True
        if self._ticking is not None:
            self._ticking.cancel()
        await self.service.close()
        await asyncio.gather(*(link.leave() for link in tuple(self._links.values())))

    def describe(self) -> dict[str, Any]:
        """What is going on, for people: nothing of any visitor but their number."""
        now = self._clock()
        return {
            "address": f"{self.address}.onion",
            "points": len(self.service.points),
            "waiting": self._fleet.waiting,
            "replica_seconds": round(self._fleet.replica_seconds(now), 1),
            "leaving": self._leaving,
            "uploads": self.service.counters.uploads,
            "failed_uploads": self.service.counters.failed_uploads,
            **vars(self.counters),
            "replicas": [
                {
                    "number": replica.number,
                    "state": replica.state.value,
                    "region": replica.region,
                    "clients": replica.busy,
                    "places": replica.places,
                    "rate": round(replica.load.rate),
                    "served": replica.joined,
                    "seconds": round(now - replica.started, 1),
                }
                for replica in self._fleet
            ],
        }

    # -- what happens

    def on_client(self, visitor: Rendezvous) -> None:
        """Somebody waits at a rendezvous point."""
        self.counters.visitors += 1
        if self._regions is None or len(self._tasks) >= LOOKUPS:
            self._arrived(visitor, "")
        else:
            self._keep(self._look_up(visitor, self._regions))

    async def _look_up(self, visitor: Rendezvous, regions: Regions) -> None:
        self._arrived(visitor, await regions.of_visitor(visitor))

    def _arrived(self, visitor: Rendezvous, region: str) -> None:
        self._next += 1
        self._waiting[self._next] = visitor.pack()
        self._do(self._fleet.arrived(self._next, self._clock(), region))

    def _heard(self, number: int, message: Message) -> None:
        now = self._clock()
        match message:
            case Ready(region):
                region = self._region.pop(number, region)
                self._do(self._fleet.ready(number, now, region))
            case Report(load):
                self._do(self._fleet.report(number, load, now))
            case Joined(visitor) if self._handed.get(visitor) == number:
                del self._waiting[visitor], self._handed[visitor]
                self.counters.joined += 1
                self._fleet.joined(visitor, number)
            case Failed(visitor) if self._handed.get(visitor) == number:
                self._do(self._fleet.failed(visitor, number, now))
            case _:
                pass  # the word of a replica that was given up meanwhile

    def _ended(self, number: int) -> None:
        link = self._links.pop(number, None)
        if link is None or self._closing:
            return
        known = {replica.number: replica for replica in self._fleet}.get(number)
        if known is None:
            return  # it was told to go
        if known.state is State.STARTING:
            self.counters.start_failed += 1
            self._do(self._fleet.start_failed(number, self._clock()))
        else:
            self.counters.lost += 1
            self._do(self._fleet.died(number, self._clock()))

    async def _tick(self) -> None:
        while True:
            self._do(self._fleet.tick(self._clock()))
            await asyncio.sleep(TICK_SECONDS)

    # -- what is to be done

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case HandOver(visitor, replica):
                    self._hand_over(visitor, replica)
                case Start(replica):
                    self._keep(self._bring_up(replica))
                case Stop(replica):
                    self._dismiss(replica)
                case GiveUp(visitor):
                    self._waiting.pop(visitor, None)
                    self._handed.pop(visitor, None)
                    self.counters.given_up += 1

    def _hand_over(self, visitor: int, replica: int) -> None:
        self.counters.retried += visitor in self._handed
        self._handed[visitor] = replica
        if (link := self._links.get(replica)) is not None:
            link.say(Join(visitor, self._waiting[visitor]))

    async def _bring_up(self, number: int) -> None:
        """The replica is the fleet's from its word `Ready` on; until then it may fail silently."""
        self.counters.started += 1
        try:
            async with asyncio.timeout(START_SECONDS):
                channel = await self._start_replica(number)
        except (TimeoutError, OSError, BentoError):
            self.counters.start_failed += 1
            self._do(self._fleet.start_failed(number, self._clock()))
            return
        if self._regions is not None:
            self._region[number] = await self._regions.of_replica(number)
        link = ReplicaLink(
            channel, lambda message: self._heard(number, message), lambda: self._ended(number)
        )
        self._links[number] = link
        link.serve(self._content.kind, self._content.data, self.service.sendme_increment)
        try:
            async with asyncio.timeout(FILL_SECONDS):
                await link.ready.wait()
        except TimeoutError:
            await link.close()

    def _dismiss(self, number: int) -> None:
        """Lets it go: it says when its last visitor has left. One that is dead goes at once."""
        link = self._links.pop(number, None)
        if link is not None:
            self.counters.spared += not link.is_silent
            self._leaving += 1
            self._keep(self._see_off(link))

    async def _see_off(self, link: ReplicaLink) -> None:
        try:
            await link.leave()
        finally:
            self._leaving -= 1

    def _keep(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
