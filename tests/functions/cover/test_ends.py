"""The sockets of covered streams: whole bytes, ends and refusals pass; nobody's slowness holds up a slot."""

import socket

import pytest

from bento.functions.cover.ends import Ends
from bento.functions.cover.frames import WINDOW, Frames

TARGET = "somewhere"


class Line:
    """Two ends and the slots between them; every stream of the near end leads to `self.far_sockets`."""

    def __init__(self, refusal=""):
        self.told = []
        self.far_sockets = []
        self.refusal = refusal
        self.near = Ends(
            Frames(opens=True),
            on_opened=lambda stream: self.near.tell(stream, b"ok\n"),
            on_refused=lambda stream, reason: self.told.append(reason),
        )
        self.far = Ends(Frames(opens=False), on_open=self._open)
        self._last = [[], []]

    def _open(self, stream, target):
        assert target == TARGET.encode()
        if self.refusal:
            self.far.refuse(stream, self.refusal)
            return
        inner, outer = socket.socketpair()
        self.far_sockets.append(outer)
        self.far.accept(stream, inner)

    def open(self):
        user, inner = socket.socketpair()
        user.settimeout(5)
        self.near.open(inner, TARGET)
        return user

    def slots(self, count=20):
        for _ in range(count):
            frames = [ends.frames.seal(ends.frames.next()) for ends in (self.near, self.far)]
            self.near.turn([frames[1]])
            self.far.turn([frames[0]])


@pytest.fixture
def line():
    made = Line()
    yield made
    made.near.close()
    made.far.close()
    for sock in made.far_sockets:
        sock.close()


def test_bytes_and_both_ends_pass(line):
    user = line.open()
    user.sendall(b"question")
    user.shutdown(socket.SHUT_WR)
    line.slots()
    (far,) = line.far_sockets
    assert far.recv(100) == b"question" and far.recv(100) == b""
    far.sendall(b"answer")
    far.close()
    line.slots()
    assert user.recv(3) == b"ok\n" and user.recv(100) == b"answer" and user.recv(100) == b""
    line.slots(3)
    assert len(line.near) == len(line.far) == 0
    user.close()


def test_a_refusal_is_told_and_nothing_stays():
    line = Line("no such place")
    user = line.open()
    line.slots(3)
    assert line.told == [b"no such place"]
    assert user.recv(1) == b""
    assert len(line.near) == len(line.far) == 0
    user.close()


def test_a_reader_who_takes_nothing_holds_up_nobody_and_little_is_kept(line):
    lazy, quick = line.open(), line.open()
    line.slots(3)
    one, other = line.far_sockets
    one.setblocking(False)
    sent = 0
    for _ in range(3000):
        try:
            sent += one.send(bytes(4096))
        except BlockingIOError:
            pass
        line.slots(1)
    other.sendall(b"still here")
    line.slots(5)
    assert quick.recv(100) == b"ok\nstill here"
    inside = line.near._outbox
    assert sum(map(len, inside.values())) <= WINDOW
    lazy.close()
    line.slots(200)
    assert len(line.near) == 1
    quick.close()


def test_a_user_who_leaves_ends_the_far_side(line):
    user = line.open()
    line.slots(3)
    (far,) = line.far_sockets
    user.close()
    line.slots(3)
    assert far.recv(10) == b""
    far.close()
    line.slots(3)
    assert len(line.near) == len(line.far) == 0
