"""The front's end of a replica: an end is noticed once, a silent one is not waited for."""

from __future__ import annotations

import asyncio

import pytest
from tests.functions.balancer.ends import channel

from bento.functions.balancer import links
from bento.functions.balancer.links import ReplicaLink
from bento.functions.balancer.messages import (
    TO_REPLICA,
    Content,
    Frames,
    Leave,
    Left,
    Ping,
    Ready,
    Serve,
    encode,
)


class Linked:
    def __init__(self) -> None:
        ours, self.replica = channel()
        self.heard: list[object] = []
        self.ends = 0
        self.link = ReplicaLink(ours, self.heard.append, self._ended)
        self._frames = Frames(TO_REPLICA)

    def _ended(self) -> None:
        self.ends += 1

    async def told(self, count: int) -> list[object]:
        found: list[object] = []
        while len(found) < count:
            found += self._frames.feed(await self.replica.read())
        return found


async def test_words_arrive_in_order_and_its_end_is_noticed_once():
    linked = Linked()
    linked.link.serve(1, b"content", 31)
    linked.link.say(Ping())
    assert await linked.told(3) == [Serve(1, 31, 7), Content(b"content"), Ping()]
    await linked.replica.write(encode(Ready("de")))
    await linked.link.ready.wait()
    await linked.replica.close()
    await linked.link._task
    assert linked.heard == [Ready("de")]
    assert linked.ends == 1
    await linked.link.close()
    assert linked.ends == 1


async def test_it_leaves_when_the_replica_says_that_it_has_left():
    linked = Linked()
    leaving = asyncio.ensure_future(linked.link.leave())
    assert await linked.told(1) == [Leave()]
    assert not leaving.done()
    await linked.replica.write(encode(Left()))
    await leaving
    assert linked.ends == 1


async def test_a_silent_replica_is_ended_at_once(monkeypatch):
    monkeypatch.setattr(links, "SILENCE", -1.0)
    linked = Linked()
    await linked.link.leave()
    assert linked.ends == 1


@pytest.mark.parametrize("said", [b"\xff\xff\xff", encode(Ping())], ids=["rubbish", "our words"])
async def test_a_replica_that_makes_no_sense_counts_as_gone(said):
    linked = Linked()
    await linked.replica.write(said)
    await linked.link._task
    assert linked.ends == 1
    assert linked.link.ready.is_set()  # whoever waits for it must not wait on


async def test_one_that_does_not_read_is_ended(monkeypatch):
    monkeypatch.setattr(links, "MAX_QUEUE", 4)
    linked = Linked()
    linked.link._channel.write = lambda data: asyncio.Event().wait()
    for _ in range(6):
        linked.link.say(Ping())
    await linked.link._task
    assert linked.ends == 1
