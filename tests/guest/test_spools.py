"""All unfetched answers of an instance together take a known part of its memory; nobody's reader holds up
another's writer."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local_box import local_box

from bento.guest.session import Session
from bento.guest.spools import FLOOR, Share, Spools, most_sessions
from bento.guest.sync import Signal
from bento.protocol import limits
from bento.protocol.session import Ack

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


def session_of(spools, spool=limits.WINDOW):
    return Session(b"x" * 16, spool, spools, lambda: None, lambda: None)


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
    kept = [fill(session_of(spools), 8 * MIB) for _ in range(most_sessions(memory))]
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
    assert spools._left == 2 * MIB


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
