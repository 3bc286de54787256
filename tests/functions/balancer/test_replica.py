"""A replica's side of the talk, without a network: what it takes from whom, and when it ends."""

from __future__ import annotations

import asyncio

import pytest
from tests.functions.balancer.ends import channel
from tests.functions.balancer.test_messages import record

from bento.errors import RemoteProtocolError, TorError
from bento.functions.balancer import replica as module
from bento.functions.balancer.messages import (
    TO_FRONT,
    Content,
    Failed,
    Frames,
    Join,
    Leave,
    Left,
    Ping,
    Ready,
    Report,
    Serve,
    content_frames,
    encode,
)
from bento.functions.balancer.replica import Replica
from bento.functions.balancer.site import FILES
from bento.onion.wire import vector

FOLDER = vector(b"index.html", 2) + vector(b"hello", 4)


class NoWay:
    """A network in which nobody can be reached."""

    async def directory(self):
        return None

    async def circuit_to(self, target):
        raise TorError("no circuit could be made")


class Talk:
    """The front's end of a replica that runs."""

    def __init__(self) -> None:
        self.end, theirs = channel()
        self._frames = Frames(TO_FRONT)
        self._heard: list[object] = []
        self.task = asyncio.ensure_future(Replica(NoWay(), theirs, region="de").run())

    async def say(self, *messages) -> None:
        for message in messages:
            await self.end.write(encode(message))

    async def serve(self) -> None:
        await self.say(Serve(FILES, 0, len(FOLDER)))
        for frame in content_frames(FOLDER):
            await self.end.write(frame)
        assert await self.hear() == Ready("de")

    async def hear(self):
        """The next word that is no report."""
        while True:
            while not self._heard:
                self._heard += self._frames.feed(await self.end.read())
            message = self._heard.pop(0)
            if not isinstance(message, Report):
                return message


@pytest.fixture
def hasty(monkeypatch):
    """A client that cannot be reached is given up at once."""
    monkeypatch.setattr("bento.onion.rendezvous.RETRY_SECONDS", 0.0)


async def test_it_serves_what_it_is_sent_and_leaves_when_it_is_told():
    talk = Talk()
    await talk.serve()
    await talk.say(Ping(), Leave())
    assert await talk.hear() == Left()
    await talk.task


async def test_a_visitor_that_cannot_be_reached_is_told_to_the_front(hasty):
    talk = Talk()
    await talk.serve()
    await talk.say(Join(7, record()))
    assert await talk.hear() == Failed(7)
    await talk.end.close()
    await talk.task


@pytest.mark.parametrize(
    "messages",
    [
        [Join(1, record())],
        [Ping()],
        [Serve(FILES, 0, 4), Content(b"12345")],
        [Serve(FILES, 0, 4), Content(b"")],
        [Serve(FILES, 0, 4), Leave()],
        [Serve(FILES, 0, 4), Content(b"1234")],
        [Serve(99, 0, 0)],
        [Serve(FILES, 0, len(FOLDER)), Content(FOLDER), Serve(FILES, 0, 0)],
    ],
    ids=[
        *("a visitor first", "no first word", "too much", "nothing", "an end too early"),
        *("no files", "an unknown kind", "a second first word"),
    ],
)
async def test_a_front_that_makes_no_sense_is_refused(messages):
    talk = Talk()
    await talk.say(*messages)
    with pytest.raises(RemoteProtocolError):
        await talk.task
    assert talk.end.other.closed


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "gone"])
async def test_it_ends_with_its_front(silent, monkeypatch):
    monkeypatch.setattr(module, "LEASE", 0.05)
    talk = Talk()
    await talk.serve()
    if not silent:
        await talk.end.close()
    await talk.task
