"""An onion service: introduction points kept up, descriptors kept published.

    keep_points    ->  one task a point: establish, wait for its end or its time, replace
    keep_published ->  when points or periods change, and every hour or so: make, sign, upload
    INTRODUCE2     ->  checked (`intro`), then `on_client(Rendezvous)` is called

What happens to a client is the caller's choice: join it here (`rendezvous.join`), or hand the
record to a replica (`handover`). The service itself never sees a stream.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bento.errors import LocalProtocolError, RemoteProtocolError, TorError
from bento.onion import descriptor, hsdir
from bento.onion.blinding import OnionIdentity
from bento.onion.circuit import Circuit
from bento.onion.congestion import PathKind
from bento.onion.consensus import Relay
from bento.onion.descriptor import DescriptorPlan
from bento.onion.handover import Rendezvous
from bento.onion.intro import CookieMemory, IntroductionKeysOfPoint, IntroductionPoint
from bento.onion.network import Network
from bento.onion.publish import Upload, publish
from bento.onion.relay import RelayCommand

DEFAULT_POINTS = 3
REPUBLISH_SECONDS = (60 * 60, 120 * 60)  # C-tor: HS_SERVICE_NEXT_UPLOAD_TIME_MIN, _MAX
CHECK_SECONDS = 5.0  # how often periods and the directory are looked at
SETTLE_SECONDS = 0.2  # points that come up together go into one descriptor
MAX_ATTEMPTS_PAUSE = 30.0


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
        point_keys: Sequence[IntroductionKeysOfPoint] = (),
    ) -> None:
        self.address = identity.address
        self.counters = ServiceCounters()
        self._options = options or ServiceOptions()
        if not 0 < self._options.points <= descriptor.MAX_INTRODUCTION_POINTS:
            raise LocalProtocolError("a service has 1 to 20 introduction points")
        self._identity = identity
        self._network = network
        self._on_client = on_client
        self._kept_keys = list(point_keys)
        self._standing: list[_Standing] = []
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
            try:
                relay = await self._choose()
            except TorError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_ATTEMPTS_PAUSE)
                continue
            try:
                standing = await self._establish(relay)
                pause = 1.0
                await self._attend(standing)
            except (TorError, RemoteProtocolError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_ATTEMPTS_PAUSE)
            finally:
                self._taken.discard(relay.identity.rsa)

    async def _choose(self) -> Relay:
        async with self._choosing:
            known = await self._network.directory()
            path = known.choose_path(2, avoid=self._taken, flags={"Stable"})
            relay = path[-1]
            self._taken.add(relay.identity.rsa)
            return relay

    async def _establish(self, relay: Relay) -> _Standing:
        keys = self._kept_keys.pop(0) if self._kept_keys else None
        point = IntroductionPoint(relay.target, time.time(), keys)
        circuit = await self._network.circuit_to(relay)
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
            self.counters.points_replaced += 1
            self._changed.set()

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
        plan = DescriptorPlan(
            [standing.point.published for standing in self._standing],
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
