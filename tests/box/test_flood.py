"""One flooding client against twenty modest ones: with the price each modest one keeps its service,
without it they do not. A real box: its door, its turnstile, its quotes, its sandboxes.

What is modelled is the clients' computers. Time goes in ticks; in a tick every client, the flooder too,
gets the same hashes to spend on puzzles, and a puzzle takes exactly the hashes it asks for (on
average it does; that it cannot take fewer is tests/protocol/test_puzzle.py). So nothing here depends on
how busy the machine of the test is.
"""

import hashlib
from dataclasses import replace

import pytest
from tests.local_box import local_box

from bento.box.config import Admission
from bento.box.terms import Terms
from bento.client.door import knock
from bento.errors import BusyError
from bento.protocol.door import Create
from bento.protocol.puzzle import Solution

FUNCTION = b"def main(api):\n    api.send(b'here')\n"
MANIFEST = "lifetime = 60"
DIGEST = hashlib.sha256(FUNCTION).digest()
PLACES, MODEST = 80, 20
MINUTE = 20  # ticks; everybody buys places for a minute at a time


class Client:
    """Somebody with one core, who buys places one after the other."""

    def __init__(self, local, name):
        self.local = local
        self.name = name
        self.bought = 0
        self.held = {}  # instance -> tick at which its minute is over
        self.pipes = {}
        self.quote = None
        self.saved = 0  # hashes done for the present quote
        self.served = 0

    def work(self):
        self.saved += self.local.turnstile.pricing.core // MINUTE

    async def try_for_a_place(self, now):
        """One request, or none while the puzzle is not solved. True when something was got."""
        solution = b""
        if self.quote is not None:
            if self.saved < self.quote.work:
                return False
            self.saved -= self.quote.work
            solution = Solution(
                self.quote, hashlib.sha256(bytes([now]) + self.name).digest()[:16]
            ).encode()
        before = set(self.local.instances)
        try:
            box = self.local.box
            _, _, pipe = await knock(
                box._route, Create(MANIFEST, DIGEST, solution, b""), box.name.key_hash
            )
        except BusyError as busy:
            if self.quote is None:
                self.saved = 0  # nothing can be computed before there is a seed
            self.quote = busy.quote
            return False
        self.quote = None
        (got,) = set(self.local.instances) - before
        self.pipes[got] = pipe  # an instance whose creator goes before its code came ends at once
        self.held[got] = now + MINUTE
        return True

    async def give_back(self, now):
        for instance, over in list(self.held.items()):
            if over <= now:
                del self.held[instance]
                self.pipes.pop(instance).writer.close()
                await self.local.instances.end(instance)


class Modest(Client):
    """Wants one place, and is served in every tick in which it has one."""

    async def tick(self, now):
        self.work()
        await self.give_back(now)
        if not self.held:
            await self.try_for_a_place(now)
        self.served += bool(self.held)


class Flooder(Client):
    """Wants everything, and keeps what cost nothing for a day."""

    async def tick(self, now):
        self.work()
        await self.give_back(now)
        while True:
            free = self.quote is None and self.local.turnstile.price == 0
            if not await self.try_for_a_place(now):
                if self.quote is None or self.saved < self.quote.work:
                    return
            elif free:
                self.held[list(self.held)[-1]] = 1 << 30


@pytest.fixture(autouse=True)
def model(monkeypatch):
    """Exact puzzles; and instances without code stay, however slow the machine of the test is."""
    monkeypatch.setattr(Solution, "holds", True)
    start = Terms.start
    monkeypatch.setattr(
        Terms, "start", lambda self, expires: start(replace(self, patience=86400), expires)
    )


async def service_of_modest_ones(priced, minutes, held_before):
    """The part of its time in which each modest client had its place. The flooder has half a minute's
    start; `held_before` of the places that cost nothing are his already (and need no sandboxes)."""
    async with local_box(Admission(priced=priced), instances=PLACES, pool=2) as local:
        turnstile = local.turnstile
        turnstile._churn.BURST = 1 << 30  # ticks have no seconds
        turnstile._taken = lambda part: held_before + local.instances.taken(part)
        flooder = Flooder(local, b"flooder")
        modest = [Modest(local, bytes([number])) for number in range(MODEST)]
        for now in range(MINUTE // 2):
            await flooder.tick(now)
        ticks = range(MINUTE // 2, MINUTE // 2 + minutes * MINUTE)
        for now in ticks:
            await flooder.tick(now)
            for one in modest:
                await one.tick(now)
        for client in (flooder, *modest):
            await client.give_back(1 << 62)
        return [one.served / len(ticks) for one in modest]


async def test_with_a_price_each_modest_one_keeps_its_service():
    kept = await service_of_modest_ones(True, 1, held_before=PLACES // 2)
    assert min(kept) >= 0.8


async def test_without_a_price_a_flood_takes_it():
    kept = await service_of_modest_ones(False, 1, held_before=PLACES - 8)
    assert max(kept) < 0.8


@pytest.mark.campaign
async def test_r11_flood_full_size():
    kept = await service_of_modest_ones(True, 5, held_before=0)
    print(f"each modest client kept at least {min(kept):.0%} of its time")
    assert min(kept) >= 0.8
    assert max(await service_of_modest_ones(False, 5, held_before=0)) < 0.8
