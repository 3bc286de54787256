"""R9: connections that are cut: transfers go on where they stopped, by themselves, and what was half asked
for is done once or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest
from tests.client.cutter import Cutter
from tests.local_box import local_box
from tests.waiting import until

from bento.client.box import Box
from bento.client.route import UnixRoute
from bento.errors import BoxError
from bento.protocol import limits

MIB = 1 << 20
ECHO = b"""
import hashlib
def main(api, size: int = 0):
    hashed = hashlib.sha256()
    for piece in api:
        hashed.update(piece)
    api.send(hashed.digest())
    block = bytes(range(256)) * 256
    for at in range(0, size, len(block)):
        api.send(block[: size - at])
"""
BLOCK = bytes(range(256)) * 256
OVERHEAD = 1.02  # of frames


class Way:
    """A local box, and a client's handle on it through a cutter."""

    def __init__(self, local, cutter):
        self.local, self.cutter = local, cutter
        self.box = Box(local.box.name, UnixRoute(str(cutter.path)))


@pytest.fixture
async def way():
    async with local_box() as local, Cutter(local.config.state / "way.sock", local.path) as cutter:
        yield Way(local, cutter)


def some_cuts(count, least, most):
    """`count` cuts, each after a random number of bytes."""
    after = random.randint(least, most)

    def cut(up, down):
        nonlocal count, after
        if not count or up + down < after:
            return False
        count -= 1
        after = random.randint(least, most)
        return True

    return cut


async def cut_both_ways(way, size, cuts):
    """`size` bytes of input, then as many of answer, each cut `cuts` times."""
    data = random.randbytes(MIB)
    instance = await way.box.install(ECHO)
    session = await instance.invoke(size)
    most = 8 * size // (5 * cuts)  # on average a little less than what uses all cuts up
    way.cutter.cut = some_cuts(cuts, most // 10, most)
    for _ in range(size // MIB):
        await session.send(data)
    await session.close_input()
    answer = aiter(session)
    got = b""
    while len(got) < 32:
        got += await anext(answer)
    hashed = hashlib.sha256()
    for _ in range(size // MIB):
        hashed.update(data)
    assert got[:32] == hashed.digest()
    up_cuts, up = way.cutter.cuts, way.cutter.up
    assert up <= OVERHEAD * size + (up_cuts + 1) * (limits.WINDOW + MIB)
    way.cutter.cut = some_cuts(cuts, most // 10, most)
    got = bytearray(got[32:])
    async for piece in answer:
        got += piece
    assert got == BLOCK * (size // len(BLOCK))
    down_cuts = way.cutter.cuts - up_cuts
    assert way.cutter.down <= OVERHEAD * size + (down_cuts + up_cuts + 1) * (limits.WINDOW + MIB)
    await instance.shutdown()
    return up_cuts, down_cuts, up / size, way.cutter.down / size


async def test_r9_a_transfer_that_is_cut_ends_with_the_right_bytes_and_sends_little_twice(way):
    up, down, *_ = await cut_both_ways(way, 8 * MIB, 8)
    assert up >= 3
    assert down >= 3


@pytest.mark.campaign
async def test_r9_100_cuts_of_64_mib_each_way(way, capsys):
    up, down, sent, received = await cut_both_ways(way, 64 * MIB, 100)
    with capsys.disabled():
        print(
            f"\nR9: {up} cuts of 64 MiB up, {sent:.2f} times sent; {down} down, {received:.2f} times"
        )


async def test_a_function_arrives_whose_upload_is_cut(way):
    source = b"# /// bento\n# memory = '256 MiB'\n# ///\ndef main(api): return str(len(PADDING))\n"
    source += b"PADDING = '" + b"x" * (8 * MIB) + b"'\n"
    way.cutter.cut = some_cuts(5, MIB, 3 * MIB)
    instance = await way.box.install(source)
    assert way.cutter.cuts >= 2
    assert way.cutter.up < 1.5 * len(source)
    session = await instance.invoke()
    await session.close_input()
    assert await session.read() == str(8 * MIB).encode()
    assert len(way.local.instances) == 1


async def test_run_goes_on_after_a_cut_in_its_upload(way):
    source = b"# /// bento\n# memory = '256 MiB'\n# ///\nimport sys\ncalls = []\n"
    source += b"def main(api):\n calls.append(1)\n return str(len(calls))\n"
    source += b"PADDING = '" + b"x" * (4 * MIB) + b"'\n"
    way.cutter.cut = some_cuts(3, MIB // 2, MIB)
    instance, session = await way.box.run(source)
    await session.close_input()
    assert await session.read() == b"1"
    assert way.cutter.cuts >= 2
    assert len(way.local.instances) == 1


async def test_a_lost_answer_to_create_leaves_one_instance(way):
    """The answer is the first thing with a token in it: some 250 bytes after the policy."""
    way.cutter.cut = once(lambda up, down: down > 0)  # the Welcome came, Created does not
    await way.box.install(ECHO)
    assert way.cutter.cuts == 1
    await until(lambda: len(way.local.instances) == 1)


async def test_a_lost_answer_to_invoke_starts_main_once(way):
    source = b"calls = []\ndef main(api):\n calls.append(1)\n return str(len(calls))"
    instance = await way.box.install(source)
    way.cutter.cut = once(lambda up, down: down > 0)
    session = await instance.invoke()
    await session.close_input()
    assert await session.read() == b"1"
    assert way.cutter.cuts == 1


async def test_a_lost_answer_to_shutdown_is_a_shutdown(way):
    instance = await way.box.install(ECHO)
    way.cutter.cut = once(lambda up, down: down > 0)
    await instance.shutdown()
    assert way.cutter.cuts == 1
    assert len(way.local.instances) == 0


async def test_a_session_whose_instance_ended_meanwhile_says_so_at_once(way):
    instance = await way.box.install(ECHO)
    session = await instance.invoke()
    await session.started()
    way.cutter.cut = lambda up, down: True
    way.cutter.break_all()
    [kept] = way.local.instances
    await way.local.instances.end(kept)
    way.cutter.cut = lambda up, down: False
    with pytest.raises(BoxError, match="no such token"):
        await session.read()


async def test_a_way_that_stays_broken_is_given_up_and_the_session_can_be_gone_on_with(way):
    way.box.persistence = 0.3
    instance = await way.box.install(ECHO)
    session = await instance.invoke(MIB)
    await session.close_input()
    pieces = aiter(session)
    got = await anext(pieces)
    way.cutter.cut = lambda up, down: True
    way.cutter.break_all()
    with pytest.raises(BoxError) as caught:
        async for piece in pieces:
            got += piece
    assert "attach" in caught.value.hint
    way.cutter.cut = lambda up, down: False
    again = await way.box.attach(session.name, len(got))
    got += await again.read()
    assert got[32:] == BLOCK * (MIB // len(BLOCK))


PATIENT = b"""
import time
seen, go = [], []
def main(api, what="read"):
    if what == "seen":
        return str(len(seen))
    if what == "go":
        go.append(1)
        return "gone"
    while not api.poll(1):
        pass
    seen.append(1)
    while not go:
        time.sleep(0.01)
    return b"".join(api)
"""


async def test_input_that_the_function_has_not_taken_is_sent_again_with_its_end(way):
    async def ask(what):
        session = await way.local.box.instance(instance.ticket).invoke(what)
        await session.close_input()
        return await session.read()

    instance = await way.box.install(PATIENT)
    session = await instance.invoke()
    await session.send(b"x" * 100_000)
    await session.close_input()
    while await ask("seen") == b"0":
        await asyncio.sleep(0.01)
    before = way.cutter.connections
    way.cutter.break_all()
    await until(lambda: way.cutter.connections > before)
    await ask("go")
    assert await session.read() == b"x" * 100_000


def once(condition):
    """A cut at the first piece of which `condition(up, down)` is true."""
    done = False

    def cut(up, down):
        nonlocal done
        if done or not condition(up, down):
            return False
        done = True
        return True

    return cut
