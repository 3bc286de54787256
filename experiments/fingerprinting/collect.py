"""All visits of a run, by a few users at a time, appended to one file; goes on where it was cut.

A round visits every site once in every case before the next one begins: whatever changes on the machine in
the course of a run changes for all sites and all cases alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bento.client.network import Network, TorEndpoints
from bento.errors import BentoError, HostError
from bento.testnet import Size, Testnet
from bento.testnet.folders import Folders
from bento.testnet.layout import Layout
from experiments.fingerprinting.cases import SENT, UNDEFENDED, UNPADDED, Case
from experiments.fingerprinting.lane import Lane
from experiments.fingerprinting.sites import Corpus, Site
from experiments.fingerprinting.store import Visit, append, read
from experiments.fingerprinting.web import serving

DELAY_MS = 15.0
"""Of each link, one way: 90 ms there and back over three relays. Without delay the loopback would have no
round trips; the live network's are longer."""
RELAYS = 3
BOXES = 2
BROWSERS = 2
"""Chromiums at work at once, as many as cores: a page's time is to be its own, not its neighbours'."""
_TRIES = 3
COLLECTED = (UNDEFENDED, UNPADDED, *SENT)


@dataclass(frozen=True)
class Job:
    site: Site
    number: int


def shuffled(sites: list[Site], number: int) -> list[Site]:
    """The sites in the order of round `number`: another one in each, so that no site is always visited beside
    the same others. What they do to each other on a busy machine would be learned as theirs."""
    order = list(sites)
    random.Random(number).shuffle(order)
    return order


class Collection:
    """What `path` has of `rounds` visits to each of `sites` in each of `cases`."""

    def __init__(
        self, path: Path, sites: list[Site], rounds: int, cases: Sequence[Case] = COLLECTED
    ) -> None:
        self._path = path
        self._cases = cases
        self.sites = sites
        self._jobs = [
            Job(site, number) for number in range(rounds) for site in shuffled(sites, number)
        ]
        self._visits = {visit.key: visit for visit in read(path)}
        self._failures: Counter[str] = Counter()

    def missing(self, job: Job) -> list[Case]:
        return [
            case
            for case in self._cases
            if (case.name, job.site.name, job.number) not in self._visits
        ]

    @property
    def left(self) -> int:
        """Visits that are still to be made."""
        return sum(len(self.missing(job)) for job in self._jobs)

    def jobs(self, until: float) -> Iterator[Job]:
        """What is left to do, until the clock says so."""
        for job in self._jobs:
            if time.monotonic() > until:
                return
            if self.missing(job) and self._failures[job.site.name] < _TRIES:
                yield job

    async def work(self, lane: Lane, jobs: Iterator[Job], until: float) -> None:
        """Takes one job after the other."""
        for job in jobs:
            for case in self.missing(job):
                if time.monotonic() > until:
                    return
                before = self._visits.get((UNPADDED.name, job.site.name, job.number))
                if case in SENT and before is None:
                    break
                try:
                    visit = await lane.visit(case, job.site, job.number, before)
                except (BentoError, TimeoutError) as error:
                    self._failures[job.site.name] += 1
                    print(
                        f"  {job.site.name}, {case.name}: {str(error) or 'took too long'}",
                        flush=True,
                    )
                    break
                self._add(visit)

    def _add(self, visit: Visit) -> None:
        append(self._path, visit)
        self._visits[visit.key] = visit


async def collect(collection: Collection, corpus: Corpus, seconds: float, lanes: int) -> int:
    """Visit for at most `seconds` (0: not at all), then say how many visits are left."""
    began = time.monotonic()
    until = began + seconds
    before = collection.left
    if not before or not seconds:
        return before
    with serving(corpus, collection.sites):
        async with users(lanes) as ready:
            jobs = collection.jobs(until)
            print(f"  {lanes} users ready after {time.monotonic() - began:.0f} s", flush=True)
            await asyncio.gather(*(collection.work(lane, jobs, until) for lane in ready))
    taken = time.monotonic() - began
    print(
        f"  {before - collection.left} visits in {taken:.0f} s; {collection.left} left", flush=True
    )
    return collection.left


@contextlib.asynccontextmanager
async def users(count: int) -> AsyncIterator[list[Lane]]:
    """A network of its own, and so many users of it."""
    with tempfile.TemporaryDirectory(prefix="prints-") as home:
        size = Size(boxes=BOXES, relays=RELAYS, delay_ms=DELAY_MS)
        testnet = Testnet(size, Path(home))
        try:
            status = await testnet.up(owner=os.getpid())
            folders = Folders.of(Path(home))
            layout = Layout(size, int(status.socks.split(".")[1]), folders.data, folders.run)
            boxes = Path(home) / "boxes.json"
            async with await Network.open(
                TorEndpoints(*testnet.user_tor()), cache=boxes
            ) as network:
                await network.boxes(refresh=True)
            guards = [node for node in layout.servers if node.name.startswith("relay")]
            directory = _directory(layout)
            async with contextlib.AsyncExitStack() as stack:
                browsers = asyncio.Semaphore(BROWSERS)
                lanes = [
                    Lane(
                        Path(home) / f"user{n}", guards[n % len(guards)], directory, boxes, browsers
                    )
                    for n in range(count)
                ]
                await asyncio.gather(*map(stack.enter_async_context, lanes))
                yield lanes
        finally:
            await testnet.down()


def _directory(layout: Layout) -> str:
    """The network's own directory authority, as its tors are told of it."""
    text = (layout.user.data / "torrc").read_text()
    found = re.search(r"^DirAuthority (.*)$", text, re.MULTILINE)
    if found is None:
        raise HostError("the test network names no directory authority")
    return found[1].strip('"')
