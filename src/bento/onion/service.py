"""An onion service: introduction points kept up, descriptors kept published.

    keep_points    ->  one task a point: establish, again when its circuit breaks, replace when it
                       is spent or cannot be had
    keep_published ->  when points or periods change, and every hour or so: make, sign, upload
    INTRODUCE2     ->  checked (`intro`), then `on_client(Rendezvous)` is called

What happens to a client is the caller's choice: join it here (`rendezvous.join`), or hand the
record to a replica (`handover`). The service itself never sees a stream.

A caller that keeps `kept_points()` and gives it to the next service of the same identity has its points
back: clients that know the old descriptor need no other.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bento.errors import LocalProtocolError, RemoteProtocolError, TorError
from bento.onion import descriptor, hsdir, kept
from bento.onion.blinding import OnionIdentity
from bento.onion.circuit import Circuit
from bento.onion.congestion import PathKind
from bento.onion.crypto import Secret
from bento.onion.descriptor import DescriptorPlan
from bento.onion.handover import Rendezvous
from bento.onion.intro import CookieMemory, IntroductionPoint
from bento.onion.kept import KeptPoint
from bento.onion.network import Network
from bento.onion.publish import Upload, publish
from bento.onion.relay import RelayCommand

DEFAULT_POINTS = 3
REPUBLISH_SECONDS = (60 * 60, 120 * 60)  # C-tor: HS_SERVICE_NEXT_UPLOAD_TIME_MIN, _MAX
CHECK_SECONDS = 5.0  # how often periods and the directory are looked at
SETTLE_SECONDS = 0.2  # points that come up together go into one descriptor
MAX_ATTEMPTS_PAUSE = 30.0
CIRCUIT_RETRIES = 3  # C-tor: MAX_INTRO_POINT_CIRCUIT_RETRIES, for a point whose circuit breaks
RETRY_SECONDS = 0.25  # before the second of them, then ever longer; the first comes at once
LASTING_SECONDS = 60.0  # a circuit that stood as long begins to count anew


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """`clients`: X25519 public keys (32 bytes) of those who may connect; empty: everybody."""

    points: int = DEFAULT_POINTS
    clients: Sequence[bytes] = ()
    single_onion: bool = False
    congestion_control: bool = True


@dataclass
class ServiceCounters:
    """What happened so far."""

    introductions: int = 0
    refused: int = 0
    uploads: int = 0
    failed_uploads: int = 0
    points_replaced: int = 0


@dataclass
class _Standing:
    """A point that is established."""

    point: IntroductionPoint
    circuit: Circuit = field(repr=False)


class OnionService:
    """Start it with `start`, end it with `close`; `published` waits for the first upload."""

    def __init__(
        self,
        identity: OnionIdentity,
        network: Network,
        on_client: Callable[[Rendezvous], None],
        options: ServiceOptions | None = None,
        kept_points: bytes = b"",
    ) -> None:
        """`kept_points` is what an earlier service of this identity gave. Raises UsageError if it is not."""
        self.address = identity.address
        self.counters = ServiceCounters()
        self._options = options or ServiceOptions()
        if not 0 < self._options.points <= descriptor.MAX_INTRODUCTION_POINTS:
            raise LocalProtocolError("a service has 1 to 20 introduction points")
        self._identity = identity
        self._network = network
        self._on_client = on_client
        self._kept = kept.parse(kept_points) if kept_points else []
        self._standing: list[_Standing] = []
        self._published: list[IntroductionPoint] = []
        self._choosing = asyncio.Lock()
        self._taken: set[bytes] = set()
        self._subcredentials: list[bytes] = []
        self._cookies = CookieMemory()
        self._changed = asyncio.Event()
        self._first_upload = asyncio.Event()
        self._revision = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to establish points and to publish; returns at once."""
        await self._refresh_subcredentials()
        jobs: list[Awaitable[None]] = [self._keep_point() for _ in range(self._options.points)]
        jobs.append(self._keep_published())
        self._tasks = [asyncio.ensure_future(job) for job in jobs]

    async def published(self) -> None:
        """Until the first descriptors are at their HSDirs; raises what ended the service."""
        waiting = asyncio.ensure_future(self._first_upload.wait())
        try:
            done, _ = await asyncio.wait(
                [waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {waiting}:
                task.result()
        finally:
            waiting.cancel()

    async def close(self) -> None:
        """Ends the points; clients that are already joined stay."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for standing in self._standing:
            standing.circuit.close()
        self._standing.clear()

    @property
    def points(self) -> list[IntroductionPoint]:
        """The points that stand now."""
        return [standing.point for standing in self._standing]

    def kept_points(self) -> Secret:
        """The points that stand now, with their keys and what was seen there: for `kept_points` of the
        next service. What comes after it may be replayed to that one, so keep it often."""
        return kept.pack(KeptPoint.of(standing.point) for standing in self._standing)

    @property
    def sendme_increment(self) -> int | None:
        """What the descriptor promises to clients that do congestion control."""
        if not self._options.congestion_control:
            return None
        return self._network.vegas(PathKind.ONION).sendme_inc

    # -- introduction points

    async def _keep_point(self) -> None:
        """One point after another, for ever; each failure waits a little longer."""
        pause = 1.0
        while True:
            point = None
            with suppress(TorError):
                point = await self._choose()
            if point is not None and await self._keep(point):
                pause = 1.0
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_ATTEMPTS_PAUSE)

    async def _keep(self, point: IntroductionPoint) -> bool:
        """Until the point is spent, or its relay cannot be had; False if it never stood."""
        began = failures = 0.0
        try:
            while failures <= CIRCUIT_RETRIES and not point.is_spent(time.time()):
                if failures > 1:
                    await asyncio.sleep(RETRY_SECONDS * 2**failures)
                try:
                    standing = await self._establish(point)
                except (TorError, RemoteProtocolError):
                    failures += 1
                    continue
                began = time.monotonic()
                await self._attend(standing)
                lasted = time.monotonic() - began
                failures = 1 if lasted > LASTING_SECONDS else failures + 1
        finally:
            self._taken.discard(point.relay.identity.rsa)
            if began:
                self.counters.points_replaced += 1
                self._changed.set()
        return began > 0

    async def _choose(self) -> IntroductionPoint:
        """One that was kept, at the same relay if that is still there; else a new one."""
        async with self._choosing:
            known = await self._network.directory()
            while self._kept:
                again = self._kept.pop(0)
                relay = next((r for r in known.relays if r.identity.rsa == again.rsa), None)
                if relay is not None and again.rsa not in self._taken:
                    self._taken.add(again.rsa)
                    return again.at(relay.target)
            relay = known.choose_path(2, avoid=self._taken, flags={"Stable"})[-1]
            self._taken.add(relay.identity.rsa)
            return IntroductionPoint(relay.target, time.time())

    async def _establish(self, point: IntroductionPoint) -> _Standing:
        circuit = await self._network.circuit_to(point.relay)
        standing = _Standing(point, circuit)
        circuit.on_message[RelayCommand.INTRODUCE2] = lambda data: self._introduced(point, data)
        try:
            await circuit.request(
                RelayCommand.ESTABLISH_INTRO,
                point.establish_message(circuit.nonce),
                RelayCommand.INTRO_ESTABLISHED,
            )
        except BaseException:
            circuit.close()
            raise
        self._standing.append(standing)
        if point not in self._published:
            self._changed.set()
        return standing

    async def _attend(self, standing: _Standing) -> None:
        """Until the point's circuit ends, or the point is spent."""
        try:
            while not standing.circuit.closed.done():
                if standing.point.is_spent(time.time()):
                    break
                await asyncio.wait([standing.circuit.closed], timeout=CHECK_SECONDS)
        finally:
            self._standing.remove(standing)
            standing.circuit.close()

    def _introduced(self, point: IntroductionPoint, data: bytes) -> None:
        try:
            client = point.open(data, self._subcredentials, self._cookies, time.time())
        except RemoteProtocolError:
            self.counters.refused += 1
            return
        self.counters.introductions += 1
        self._on_client(client)

    # -- descriptors

    async def _keep_published(self) -> None:
        slots: tuple[hsdir.Slot, ...] = ()
        next_upload = 0.0
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._changed.wait()
                await asyncio.sleep(SETTLE_SECONDS)
            except TimeoutError:
                pass
            try:
                now_slots = await self._refresh_subcredentials()
            except TorError:
                continue  # tor has no usable consensus at the moment
            due = time.time() >= next_upload or now_slots != slots or self._changed.is_set()
            if not due or len(self._standing) < min(self._options.points, 1):
                continue
            self._changed.clear()
            uploads = await self._publish(now_slots)
            if any(upload.ok for upload in uploads):
                slots = now_slots
                next_upload = time.time() + secrets.SystemRandom().uniform(*REPUBLISH_SECONDS)
                if len(self._standing) >= self._options.points:
                    self._first_upload.set()

    async def _refresh_subcredentials(self) -> tuple[hsdir.Slot, ...]:
        """Clients may come with either period's subcredential, and shortly with the last one."""
        known = await self._network.directory()
        now_slots = hsdir.slots(known.consensus)
        for slot in now_slots:
            made = self._identity.blinded(slot.period).subcredential
            if made not in self._subcredentials:
                self._subcredentials.append(made)
        del self._subcredentials[:-3]
        return now_slots

    async def _publish(self, slots: Sequence[hsdir.Slot]) -> list[Upload]:
        known = await self._network.directory()
        self._published = self.points
        plan = DescriptorPlan(
            [point.published for point in self._published],
            self._options.clients,
            self.sendme_increment,
            self._options.single_onion,
        )
        self._revision = max(self._revision + 1, int(time.time()))
        uploads: list[Upload] = []
        for slot in slots:
            key = self._identity.blinded(slot.period)
            text = descriptor.make(key, plan, self._revision, time.time())
            relays = hsdir.responsible(known.relays, key.public, slot, known.consensus.parameters)
            uploads += await publish(self._network, text, relays)
        self.counters.uploads += sum(upload.ok for upload in uploads)
        self.counters.failed_uploads += sum(not upload.ok for upload in uploads)
        return uploads
