"""Whoever watches a start hears how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bento.errors import HostError
from bento.testnet.messages import Answer, Ask, Failure, Status, Step, decode_answer, encode
from bento.testnet.reception import Reception

READY = Answer(status=Status(ready=True, socks="127.77.0.250:9050"))


class Host:
    """A reception with a socket in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "s"
        self.stopping = asyncio.Event()
        self.reception = Reception(lambda: READY, self.stopping.set)

    async def ask(self, line: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(line)
        return reader, writer


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path)
    await host.reception.open(host.socket)
    yield host
    await host.reception.close()


async def test_a_watcher_hears_each_step_and_then_the_conclusion(host: Host) -> None:
    steps = [Step("relays", 1, 2), Step("relays", 2, 2), Step("clients", 1, 1)]
    host.reception.tell(steps[0])
    reader, writer = await host.ask(encode(Ask("watch")))
    assert decode_answer(await reader.readline()).step == steps[0]
    for step in steps[1:]:
        host.reception.tell(step)
        assert decode_answer(await reader.readline()).step == step
    host.reception.conclude(READY)
    assert decode_answer(await reader.readline()) == READY
    assert await reader.read() == b""
    writer.close()


async def test_one_that_comes_late_hears_the_latest_of_each_and_the_conclusion(host: Host) -> None:
    for step in (Step("relays", 1, 2), Step("clients", 1, 1), Step("relays", 2, 2)):
        host.reception.tell(step)
    host.reception.conclude(READY)
    reader, writer = await host.ask(encode(Ask("watch")))
    heard = [decode_answer(line) async for line in reader]
    assert [answer.step for answer in heard[:-1]] == [Step("clients", 1, 1), Step("relays", 2, 2)]
    assert heard[-1] == READY
    writer.close()


async def test_only_the_first_conclusion_counts(host: Host) -> None:
    host.reception.conclude(READY)
    host.reception.conclude(Answer(failure=Failure.of(HostError("late"))))
    reader, writer = await host.ask(encode(Ask("watch")))
    assert decode_answer(await reader.readline()) == READY
    writer.close()


async def test_a_start_that_nobody_watches_any_more_is_abandoned(host: Host) -> None:
    host.reception.tell(Step("relays", 0, 1))
    watchers = [await host.ask(encode(Ask("watch"))) for _ in range(2)]
    for reader, _ in watchers:
        await reader.readline()
    watchers[0][1].close()
    await asyncio.sleep(0.05)
    assert not host.reception.abandoned.is_set()
    watchers[1][1].close()
    async with asyncio.timeout(60):
        await host.reception.abandoned.wait()


async def test_the_first_watcher_is_waited_for(host: Host) -> None:
    assert not await host.reception.first_watcher(0.05)
    waiting = asyncio.create_task(host.reception.first_watcher(60))
    _, writer = await host.ask(encode(Ask("watch")))
    assert await waiting
    writer.close()


async def test_a_watcher_that_leaves_after_the_conclusion_abandons_nothing(host: Host) -> None:
    host.reception.conclude(READY)
    reader, writer = await host.ask(encode(Ask("watch")))
    await reader.read()
    writer.close()
    await asyncio.sleep(0.05)
    assert not host.reception.abandoned.is_set()


async def test_down_is_answered_when_everything_has_ended(host: Host) -> None:
    reader, writer = await host.ask(encode(Ask("down")))
    await host.stopping.wait()
    answer = asyncio.create_task(reader.readline())
    await asyncio.sleep(0.05)
    assert not answer.done()
    await host.reception.close()
    assert decode_answer(await answer) == Answer(status=Status())
    writer.close()


@pytest.mark.parametrize("line", [b"\n", b"nonsense\n", b'{"do":"dance"}\n', bytes(1 << 20)])
async def test_nonsense_gets_no_answer_and_harms_nobody(host: Host, line: bytes) -> None:
    reader, writer = await host.ask(line)
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass  # it did not even read to the end
    writer.close()
    reader, writer = await host.ask(encode(Ask("status")))
    assert decode_answer(await reader.readline()) == READY
    writer.close()


async def test_after_close_nobody_can_ask(host: Host) -> None:
    await host.reception.close()
    assert not host.socket.exists()
