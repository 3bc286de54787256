"""The uplink gives everybody their weight's part of it, and nothing is left unused that somebody wants."""

import asyncio

import pytest
from tests.waiting import until

from bento.box.uplink import Uplink

RATE = 64 << 20  # a piece is 64 KiB, and due each millisecond
LOOK = 1e-4  # seconds
MUCH = 24 << 20


class Sender:
    """A connection that always has something to pass, as the relay passes it; `most` bytes at a time."""

    def __init__(self, share, most=1 << 17):
        self.share, self.most, self.sent, self.ended = share, most, 0, False
        asyncio.get_running_loop().call_soon(self.go)

    def go(self):
        if self.ended:
            return
        if not (allowed := self.share.allowance()):
            self.share.wait(self.go)
            return
        self.share.passed(count := min(allowed, self.most))
        self.sent += count
        asyncio.get_running_loop().call_soon(self.go)


class Clock:
    """Goes on by being looked at, so that nothing depends on how busy the machine is."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += LOOK
        return self.now


@pytest.fixture
async def uplink():
    """With nothing saved up."""
    made = Uplink(RATE, {"heavy": 4.0}, Clock())
    made._bucket.spend(made._bucket.tokens())
    yield made
    made.close()


async def sent(senders, total):
    """The bytes of each, once they are `total` together; then they end."""
    await until(lambda: sum(one.sent for one in senders) >= total)
    for one in senders:
        one.ended = True
    return [one.sent for one in senders]


async def test_bytes_are_in_proportion_to_weights(uplink):
    light, heavy = await sent([Sender(uplink.share("")), Sender(uplink.share("heavy"))], MUCH)
    assert 3.5 < heavy / light < 4.5


async def test_more_connections_are_no_larger_share(uplink):
    many = uplink.share("")
    one, *others = await sent([Sender(uplink.share("")), *(Sender(many) for _ in range(20))], MUCH)
    assert 0.8 < one / sum(others) < 1.25
    assert min(others) > 0


async def test_who_had_all_of_it_owes_nothing_when_others_come(uplink):
    old = Sender(uplink.share(""))
    await until(lambda: old.sent >= MUCH)
    before = old.sent
    new = Sender(uplink.share(""))
    await sent([new, old], before + MUCH)
    assert 0.8 < new.sent / (old.sent - before) < 1.25


async def test_who_was_idle_has_saved_nothing_up(uplink):
    idle, busy = uplink.share(""), [Sender(uplink.share("")) for _ in range(2)]
    await until(lambda: sum(one.sent for one in busy) >= MUCH)
    before = busy[0].sent
    late = Sender(idle)
    await sent([late, *busy], sum(one.sent for one in busy) + MUCH)
    assert 0.8 < late.sent / (busy[0].sent - before) < 1.25


async def test_who_wants_less_gets_all_of_it_at_once(uplink):
    greedy, share = Sender(uplink.share("heavy")), uplink.share("")
    await until(lambda: greedy.sent >= MUCH)
    for _ in range(20):
        before = greedy.sent
        if not share.allowance():
            woken = asyncio.Event()
            share.wait(woken.set)
            await woken.wait()
        share.passed(512)
        assert greedy.sent - before <= 6 * uplink.piece
        await asyncio.sleep(0)
    greedy.ended = True


async def test_the_rate_is_kept(uplink):
    clock = uplink._bucket._clock
    total = sum(await sent([Sender(uplink.share("")) for _ in range(5)], MUCH))
    assert total <= RATE * clock.now + 6 * uplink.piece


async def test_an_ended_connection_holds_nobody_up(uplink):
    share = uplink.share("")
    gone = [Sender(share) for _ in range(50)]
    await until(lambda: sum(one.sent for one in gone) >= MUCH)
    for one in gone:
        one.ended = True
    await sent([Sender(share), Sender(uplink.share("heavy"))], MUCH)


async def test_without_a_bound_nothing_waits():
    uplink = Uplink(None, {})
    share = uplink.share("")
    share.passed(1 << 40)
    assert share.allowance() > 1 << 20
    woken = asyncio.Event()
    share.wait(woken.set)
    assert woken.is_set()
