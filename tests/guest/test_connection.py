"""What a guest has to say on one connection, over sockets that take much or little of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bento.guest.connection import SessionConnection
from bento.protocol import control
from bento.protocol.session import Data, client_reader

PIECE, COUNT = 700, 4000  # more in all than one filling of a connection's queue


class Socket:
    """Takes at most `most` bytes at a time, then says that it is full."""

    def __init__(self, most):
        self.most = self.room = most
        self.taken = bytearray()

    def sendmsg(self, pieces):
        if not self.room:
            raise BlockingIOError
        data = b"".join(pieces)[: self.room]
        self.room -= len(data)
        self.taken += data
        return len(data)


def speak(most):
    """A connection whose function has written all it will ever write, pumped as the guest's loop does:
    once for the function's word, then whenever the socket takes more and something waits for it."""
    sock = Socket(most)
    runtime = SimpleNamespace(watch=lambda _: None)
    said = [Data(number * PIECE, bytes(PIECE)) for number in range(COUNT)]
    connection = SessionConnection(sock, runtime, control.SESSION + bytes(control.OPENING - 1))
    connection.session = SimpleNamespace(
        starved=False, next_message=lambda: said.pop(0) if said else None
    )
    connection.pump()
    while connection.blocked:
        sock.room = most
        connection.flush()
        connection.pump()
    return list(client_reader().feed(bytes(sock.taken)))


@pytest.mark.parametrize("most", [100, 64 * 1024, 512 * 1024, 1 << 30])
def test_all_that_was_written_leaves_however_much_the_socket_takes(most):
    messages = speak(most)
    assert sum(len(message.data) for message in messages) == PIECE * COUNT
