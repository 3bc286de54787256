"""A standby: what it hears of the first front, when it begins, and that the first one yields."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import BoxError, RemoteProtocolError
from bento.functions.balancer import standby
from bento.functions.balancer.standby import Beats, Shadow, beat, beats, follow, retire_first
from bento.guest.knock import Broken
from bento.onion.wire import vector

SHADOWS = [Shadow(), Shadow(b"points", ("bentoend1a", "bentoend1b")), Shadow(b"", ("bentoend1c",))]


class Call:
    """A session with the first front that brings these pieces: bytes, an error, or silence (None)."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def recv(self, timeout=None):
        piece = self.pieces.pop(0)
        if piece is None:
            time.sleep(timeout)
            raise TimeoutError
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self):
        pass


def calls(*sessions):
    """What opens them one after the other; an error is raised in place of a session, the last for ever."""
    left = list(sessions)

    def call():
        session = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(session, Exception):
            raise session
        return session

    return call


def test_whole_or_byte_by_byte_the_same_beats_arrive():
    sent = [None, *SHADOWS, None]
    data = b"".join(map(beat, sent))
    assert Beats().feed(data) == sent
    reader = Beats()
    assert [said for at in range(len(data)) for said in reader.feed(data[at : at + 1])] == sent


@given(st.binary(max_size=60))
def test_any_bytes_are_beats_or_raise_the_declared_error(data):
    try:
        Beats().feed(data)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        vector(b"rubbish", 4),
        vector(SHADOWS[1].pack() + b"more", 4),
        vector(Shadow(b"", ("x",) * 2000).pack(), 4),
    ],
)
def test_what_is_no_beat_is_refused(data):
    with pytest.raises(RemoteProtocolError):
        Beats().feed(data)


def test_a_front_says_what_changed_and_otherwise_that_it_is_there(monkeypatch):
    monkeypatch.setattr(standby, "BEAT_SECONDS", 0.0)
    sent, left = [], [SHADOWS[1], SHADOWS[1], SHADOWS[2]]
    beats(sent.append, lambda: left.pop(0), lambda: not left)
    assert sent == [beat(SHADOWS[1]), beat(None), beat(SHADOWS[2])]


def test_silence_leaves_what_was_said_last():
    heard = []
    first = Call(beat(SHADOWS[1]), beat(None), None)
    left = follow(calls(first, BoxError("gone")), 0.2, lambda: heard.append("begun"))
    assert left == SHADOWS[1]
    assert heard == ["begun"]


def test_a_way_that_breaks_is_not_silence():
    """The next session comes in time, and what the first one said still holds."""
    broken = Call(beat(SHADOWS[1]), Broken("the way broke"))
    assert follow(calls(broken, Call(beat(None), b"")), 30.0, lambda: None) is None
    broken = Call(beat(SHADOWS[1]), Broken("the way broke"))
    assert follow(calls(broken, Call(beat(None), None)), 1.0, lambda: None) == SHADOWS[1]


def test_a_front_that_never_answers_is_gone_too():
    assert follow(calls(Broken("nobody is there")), 0.1, lambda: None) == Shadow()


def test_one_whose_owner_ended_it_has_no_heir():
    assert follow(calls(Call(beat(SHADOWS[1]), b"")), 30.0, lambda: None) is None


def test_the_first_front_is_told_to_retire_until_it_heard_or_is_no_more(monkeypatch):
    monkeypatch.setattr(standby, "_PAUSE", 0.0)
    told = Call(b"")
    retire_first(calls(Broken("cut off"), Call(Broken("cut again")), told))
    assert told.pieces == []
    retire_first(calls(Broken("cut off"), BoxError("nothing runs there")))
