"""All unfetched answers of an instance together take a known part of its memory, and so does all unread input;
nobody's reader holds up another's writer."""

from __future__ import annotations

import asyncio
import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local_box import local_box

from bento.errors import BoxError
from bento.guest.session import Session
from bento.guest.spools import FLOOR, INPUT_FLOOR, Share, Spools, most_sessions
from bento.guest.sync import Signal
from bento.protocol import limits
from bento.protocol.session import Ack, Data, Eof

MIB = limits.MIB
FILLER = b"""
# /// bento
# memory = "32 MiB"
# pids = 256
# ///
def main(api, size):
    for _ in range(size >> 16):
        api.send(bytes(1 << 16))
"""


READER = b"""
# /// bento
# memory = "%d MiB"
# pids = 64
# ///
import hashlib
def main(api, size):
    for _ in range(size >> 16):
        api.send(bytes(1 << 16))
    digest = hashlib.sha256()
    for piece in api:
        digest.update(piece)
    api.send(digest.digest())
"""


def session_of(spools, spool=limits.WINDOW, inputs=None):
    inputs = inputs or Spools.of_input(64 * MIB)
    return Session(b"x" * 16, spool, spools, inputs, lambda: None, lambda: None)


def taking_input_of(memory, count):
    spools, inputs = Spools.of(memory, limits.WINDOW), Spools.of_input(memory)
    return [session_of(spools, inputs=inputs) for _ in range(count)]


def pour(session, data):
    """Sends `data` from where the session is; bytes that are unread then."""
    begin = session._incoming.received
    for at in range(0, len(data), limits.CHUNK):
        session.receive(Data(begin + at, data[at : at + limits.CHUNK]))
    return session._unread


def fill(session, size):
    """Writes until it would wait; bytes that are kept then."""
    with pytest.raises(TimeoutError):
        session.write(bytes(size), timeout=0)
    return session._outgoing.kept


def test_one_alone_fills_its_spool():
    for spool in (limits.SPOOL_MIN, limits.WINDOW, 16 * MIB):
        assert fill(session_of(Spools.of(16 * MIB, spool), spool), 32 * MIB) == spool


@pytest.mark.parametrize("memory", [16 * MIB, 64 * MIB, 1024 * MIB])
def test_all_together_keep_less_than_five_eighths_of_the_memory_and_each_its_floor(memory):
    spools = Spools.of(memory, limits.WINDOW)
    kept = [fill(session_of(spools), 8 * MIB) for _ in range(most_sessions(memory, limits.WINDOW))]
    assert sum(kept) <= max(memory * 5 // 8, memory // 2 + limits.WINDOW)
    assert min(kept) >= FLOOR
    assert max(kept) <= limits.WINDOW


def test_who_waits_for_the_pot_goes_on_when_another_is_fetched():
    spools = Spools(MIB)
    full, other = session_of(spools), session_of(spools)
    assert fill(full, 8 * MIB) == FLOOR + MIB
    writer = threading.Thread(target=other.write, args=(bytes(FLOOR + MIB),))
    writer.start()
    while full._outgoing.take():
        pass
    writer.join(0.2)
    assert writer.is_alive()
    full.receive(Ack(FLOOR + MIB))
    writer.join(60)
    assert not writer.is_alive()
    assert other._outgoing.kept == FLOOR + MIB


def test_what_a_forgotten_session_kept_is_there_for_others():
    spools = Spools(MIB)
    gone = session_of(spools)
    fill(gone, 8 * MIB)
    gone.forgotten()
    assert fill(session_of(spools), 8 * MIB) == FLOOR + MIB


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * MIB)), max_size=60))
def test_the_pot_is_neither_overdrawn_nor_lost(steps):
    spools = Spools(2 * MIB)
    shares, kept = [Share(spools, Signal()) for _ in range(4)], [0] * 4
    for number, size in steps:
        if size % 2:
            kept[number] += shares[number].room(kept[number], size)
        else:
            kept[number] = min(kept[number], size)
        shares[number].keeps(kept[number])
        assert sum(max(0, each - FLOOR) for each in kept) <= 2 * MIB
    for share in shares:
        share.keeps(0)
    assert spools.left == 2 * MIB


def test_one_alone_fills_its_window():
    [session] = taking_input_of(16 * MIB, 1)
    assert pour(session, bytes(limits.WINDOW)) == limits.WINDOW
    assert not session.starved


@pytest.mark.parametrize("memory", [16 * MIB, 64 * MIB, 1024 * MIB])
def test_unread_input_takes_an_eighth_of_the_memory_or_a_sixteenth_and_a_window(memory):
    sessions = taking_input_of(memory, most_sessions(memory, limits.WINDOW))
    unread = [pour(session, bytes(limits.WINDOW)) for session in sessions]
    assert sum(unread) <= max(memory // 8, memory // 16 + limits.WINDOW)
    assert min(unread) >= INPUT_FLOOR


def test_input_that_found_no_room_is_sent_again_and_read_whole():
    hog, other = taking_input_of(16 * MIB, 2)
    pour(hog, bytes(limits.WINDOW))
    sent, got, connections = bytes(range(256)) * 1024, b"", 0
    while len(got) < len(sent):
        begin = other.attach(None, 0).received
        connections += 1
        pour(other, sent[begin:])
        other.receive(Eof(len(sent)))
        while other._input:
            got += other.read(None, 0)
        assert other.starved == (len(got) < len(sent))
    assert got == sent
    assert connections == len(sent) // INPUT_FLOOR
    assert other.read(None, 0) == b""


@pytest.mark.parametrize(("size", "each"), [(16, 4 * MIB), (32, 2 * MIB)])
async def test_a_small_instance_at_its_limit_of_sessions_lives_and_loses_nothing(size, each):
    """Nobody fetches, and nobody's input is read: together at least the whole memory."""
    async with local_box() as local:
        instance = await local.box.install(READER % size)
        count = most_sessions(size * MIB, limits.WINDOW)
        sessions = [await instance.invoke(each) for _ in range(count)]
        inputs = [bytes([number]) * each for number in range(count)]
        for session, data in zip(sessions, inputs, strict=True):
            await session.send(data)
        with pytest.raises(BoxError, match=f"has {count} sessions already"):
            await (await instance.invoke(0)).started()
        await asyncio.gather(*(session.close_input() for session in sessions))
        answers = await asyncio.gather(*(session.read() for session in sessions))
        assert [answer[each:] for answer in answers] == [
            hashlib.sha256(data).digest() for data in inputs
        ]


async def test_holders_who_fetch_nothing_do_not_end_a_small_instance():
    """Twelve answers without a reader, which would fill 48 MiB of spools, in an instance of 32 MiB."""
    async with local_box(memory="64 MiB", pids=512) as local:
        instance = await local.box.install(FILLER)
        sessions = [await instance.invoke(8 * MIB) for _ in range(12)]
        for session in sessions:
            await session.started()
            session._reading.cancel()
        for session in sessions:
            await session.detach()
        fetched = await local.box.attach(sessions[-1].name)
        assert len(await fetched.read()) == 8 * MIB
