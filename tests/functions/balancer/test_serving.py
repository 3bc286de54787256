"""Who counts as a replica's load, and for whom it only stays."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from bento.functions.balancer.serving import EXPECTED, FIRST_STREAM, LINGER, PORT, Traffic, Visitors
from bento.functions.balancer.site import Files


class Stream:
    """Asks for nothing until it ends."""

    def __init__(self):
        self.bytes_written = 0
        self.over = asyncio.Event()

    async def read(self):
        await self.over.wait()
        return b""

    def close(self):
        pass


class Circuit:
    def __init__(self):
        self.closed = asyncio.get_running_loop().create_future()


class Replica:
    """Its visitors, and a clock that stands."""

    def __init__(self):
        self.now = 0.0
        self.visitors = Visitors(Files({}), lambda: self.now, asyncio.open_connection)

    def joined(self):
        visitor = self.visitors.expect()
        circuit = Circuit()
        self.visitors.arrived(visitor, circuit)
        return visitor, circuit

    @property
    def counts(self):
        return self.visitors.active, self.visitors.lingering


@pytest.fixture
async def replica():
    return Replica()


async def begun(visitor):
    stream = Stream()
    visitor(SimpleNamespace(begin=SimpleNamespace(port=PORT), accept=lambda: stream))
    await asyncio.sleep(0)
    return stream


async def ended(stream):
    stream.over.set()
    for _ in range(3):
        await asyncio.sleep(0)


async def test_one_that_joined_is_load_for_as_long_as_a_tor_needs_for_its_first_stream(replica):
    replica.joined()
    assert replica.counts == (1, 0)
    replica.now = EXPECTED
    assert replica.counts == (0, 1)
    replica.now = FIRST_STREAM
    assert replica.counts == (0, 0)


async def test_one_whose_last_stream_ended_is_no_load_but_may_come_back(replica):
    visitor, _ = replica.joined()
    one, other = await begun(visitor), await begun(visitor)
    replica.now = 100.0
    await ended(one)
    assert replica.counts == (1, 0)
    assert not replica.visitors.eased.is_set()
    await ended(other)
    assert replica.counts == (0, 1)
    assert replica.visitors.eased.is_set()
    replica.now += LINGER
    assert replica.counts == (0, 0)
    await begun(visitor)
    assert replica.counts == (1, 0)


async def test_traffic_is_counted_once_and_by_visitor(replica):
    (one, circuit), (other, _) = replica.joined(), replica.joined()
    first, second = await begun(one), await begun(other)
    first.bytes_written, second.bytes_written = 500, 70
    assert replica.visitors.traffic() == Traffic(570, 2)
    assert replica.visitors.traffic() == Traffic()
    first.bytes_written = 600
    circuit.closed.set_result(None)
    await asyncio.sleep(0)
    assert replica.visitors.eased.is_set()
    second.bytes_written = 71
    assert replica.visitors.traffic() == Traffic(101, 2)
