"""A calm link is read at once; a crowded one lets cells gather, until it is calm again."""

from __future__ import annotations

from bento.onion.crowding import CALM_READS, GATHER_SECONDS, SPAN_SECONDS, Crowding


def test_the_turns_of_a_handshake_do_not_wait():
    link = Crowding()
    assert not any(link.read(0.003 * turn) for turn in range(CALM_READS))


def test_slow_reads_never_wait_however_many_they_are():
    link = Crowding()
    assert not any(link.read(turn * SPAN_SECONDS / CALM_READS * 1.2) for turn in range(200))


def test_a_crowd_waits_and_goes_on_waiting_at_the_pace_that_waiting_gives_it():
    link = Crowding()
    waits = [link.read(0.001 * turn) for turn in range(20)]
    assert waits == [False] * CALM_READS + [True] * (20 - CALM_READS)
    assert all(link.read(0.02 + GATHER_SECONDS * turn) for turn in range(1, 50))


def test_after_a_pause_the_link_is_calm():
    link = Crowding()
    for turn in range(50):
        link.read(0.001 * turn)
    assert not link.read(0.05 + 2 * SPAN_SECONDS)
