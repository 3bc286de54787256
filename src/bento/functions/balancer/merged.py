"""A front without cells: keeps a merged descriptor published, through the control port of a C-tor.

    each look   fetch every instance's descriptor (HSFETCH) -> `merging` -> make -> HSPOST to its directories

It is published anew when instances, points, time periods or directories change, and every hour. tor is
told the directories: by itself it uploads for the current period only.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from bento.errors import BentoError, TorError
from bento.functions.balancer.merging import Merger
from bento.onion import descriptor, descriptor_reader, directory, hsdir
from bento.onion.blinding import (
    EXPANDED_BYTES,
    OnionIdentity,
    blind_public,
    blinding_factor,
    public_from_address,
    subcredential,
)
from bento.onion.consensus import Relay
from bento.onion.descriptor import DescriptorPlan
from bento.onion.directory import Directory
from bento.tor.control_codec import Event
from bento.tor.controller import Controller

LOOK_SECONDS = 60.0
PUBLISH_SECONDS = 3600.0  # C-tor: every 60 to 120 minutes
STORES_AT_ONCE = 16  # what a Stem firewall lets one command name; the public network has eight
ANSWER_SECONDS = 60.0  # for a fetch, or for all uploads of one descriptor

Content = tuple[DescriptorPlan, Sequence[tuple[bytes, tuple[str, ...]]]]
"""What was published: the plan, and for each blinded key the directories."""


class MergedFront:
    """`run` it over one connection after the other; what it knows stays."""

    def __init__(
        self,
        identity: OnionIdentity,
        addresses: Sequence[str],
        *,
        every: float = LOOK_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.address = identity.address
        self.published = asyncio.Event()
        self._identity = identity
        self._merger = Merger(addresses)
        self._every = every
        self._now = now
        self._fetching: dict[str, asyncio.Future[str]] = {}
        self._answers: Counter[str] = Counter()
        self._answered = asyncio.Event()
        self._was: Content | None = None
        self._again = 0.0
        self._uploads = 0
        self._counted = now()
        self._turn = 0

    async def run(self, control: Controller) -> None:
        """Keeps the descriptor published until tor fails: TorError. What was published last stays with
        the directories for three hours."""
        await control.subscribe({"HS_DESC", "HS_DESC_CONTENT"}, self._hear)
        await self._show_key(control)
        known = await directory.load(control, guards=False)
        while True:
            if await directory.is_newer(control, known):
                known = await directory.load(control, guards=False)
            await asyncio.gather(*(self._look(control, a, known) for a in self._merger.instances))
            self._turn += 1
            await self._publish(control, known)
            self._count()
            await asyncio.sleep(self._every)

    def describe(self) -> dict[str, Any]:
        """What is going on, for people."""
        self._count()
        instances = self._merger.instances.values()
        return {
            "address": f"{self.address}.onion",
            "way": "merged",
            "points": len(self._was[0].points) if self._was else 0,
            "uploads": self._uploads,
            "replica_seconds": round(sum(i.seconds for i in instances), 1),
            "replicas": [
                {
                    "number": number,
                    "instance": f"{instance.address}.onion",
                    "state": "ready" if instance.had is not None else "not found",
                    "points": len(instance.had.points) if instance.had is not None else 0,
                    "missed": instance.missed,
                    "seconds": round(instance.seconds, 1),
                }
                for number, instance in enumerate(instances, 1)
            ],
        }

    # -- inside

    def _count(self) -> None:
        """The seconds since the last time, for those who serve."""
        now = self._now()
        self._merger.passed(now - self._counted)
        self._counted = now

    async def _show_key(self, control: Controller) -> None:
        """A Stem firewall lets nobody publish for an address whose key he did not show. The service that
        tor makes of it ends before it has an introduction point."""
        secret = base64.b64encode(self._identity.to_c_tor_file()[-EXPANDED_BYTES:]).decode()
        await control.command(f"ADD_ONION ED25519-V3:{secret} Flags=DiscardPK Port=80")
        await control.command(f"DEL_ONION {self.address}")

    async def _look(self, control: Controller, address: str, known: Directory) -> None:
        public = public_from_address(address)
        slot = hsdir.current_slot(known.consensus)
        blinded = blind_public(public, blinding_factor(public, slot.period))
        stores = hsdir.responsible(known.relays, blinded, slot, known.consensus.parameters)
        asked = stores[self._turn % len(stores)]
        try:
            text = await self._fetch(control, address, asked)
            found = descriptor_reader.read(
                text.encode(), blinded, subcredential(public, blinded), self._now()
            )
        except (TimeoutError, BentoError):
            self._merger.missed(address)
        else:
            self._merger.learned(address, found)

    async def _fetch(self, control: Controller, address: str, relay: Relay) -> str:
        answer = self._fetching[address] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await control.command(f"HSFETCH {address} SERVER=${relay.fingerprint}")
                text: str = await answer
                return text
        finally:
            del self._fetching[address]

    async def _publish(self, control: Controller, known: Directory) -> None:
        plan = self._merger.plan()
        if not plan.points or not self._merger.settled:
            return
        uploads = []
        for slot in hsdir.slots(known.consensus):
            key = self._identity.blinded(slot.period)
            stores = hsdir.responsible(known.relays, key.public, slot, known.consensus.parameters)
            uploads.append((key, tuple(relay.fingerprint for relay in stores)))
        content = plan, tuple((key.public, stores) for key, stores in uploads)
        if content == self._was and self._now() < self._again:
            return
        for key, named in uploads:
            text = descriptor.make(key, plan, int(self._now()), self._now())
            if not await self._upload(control, text.decode(), named):
                return  # at the next look
        self._was, self._again = content, self._now() + PUBLISH_SECONDS
        self.published.set()

    async def _upload(self, control: Controller, text: str, stores: Sequence[str]) -> bool:
        """Whether any directory took it."""
        self._answers.clear()
        with contextlib.suppress(TimeoutError, TorError):
            async with asyncio.timeout(ANSWER_SECONDS):
                for at in range(0, len(stores), STORES_AT_ONCE):
                    named = " ".join(f"SERVER=${fp}" for fp in stores[at : at + STORES_AT_ONCE])
                    await control.command(f"HSPOST {named} HSADDRESS={self.address}", text)
                while self._answers.total() < len(stores):
                    self._answered.clear()
                    await self._answered.wait()
        self._uploads += self._answers["UPLOADED"]
        return self._answers["UPLOADED"] > 0

    def _hear(self, event: Event) -> None:
        if event.keyword == "HS_DESC_CONTENT":
            waiting = self._fetching.get(event.positional[0])
            if waiting is not None and not waiting.done():
                waiting.set_result(event.data or "")
        elif event.positional[:2] in (("UPLOADED", self.address), ("FAILED", self.address)):
            self._answers[event.positional[0]] += 1
            self._answered.set()
