"""A guest may be hostile when a restarted box connects: its answer is checked, all else is closed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.sandbox.leftovers import open_descriptors

from bento.errors import HostError
from bento.sandbox import handshake


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(the box's end, the guest's end) of a control connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def listener(address: str = "127.0.0.1", family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind((address, 0))
    made.listen()
    return made


async def test_the_listener_comes_with_the_word(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with listener() as egress:
        socket.send_fds(theirs, [b"ready"], [egress.fileno()])
        with await handshake.ready(ours) as received:
            assert received.getsockname() == egress.getsockname()
            assert received.getblocking() is False
            assert os.get_inheritable(received.fileno()) is False


def unbound() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def deaf() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.bind(("127.0.0.1", 0))
    return made


def datagram() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


@pytest.mark.parametrize(
    "make",
    [
        unbound,
        deaf,
        datagram,
        lambda: listener("::1", socket.AF_INET6),
        lambda: listener("0.0.0.0"),
        lambda: socket.socketpair()[0],
        partial(open, "/dev/null"),
    ],
    ids=["not bound", "not listening", "datagrams", "IPv6", "any address", "a pair", "a file"],
)
async def test_any_other_descriptor_is_refused_and_closed(
    pair: tuple[socket.socket, socket.socket], make: object
) -> None:
    ours, theirs = pair
    with make() as offered:  # type: ignore[operator]
        before = open_descriptors()
        socket.send_fds(theirs, [b"ready"], [offered.fileno()])
        with pytest.raises(HostError):
            await handshake.ready(ours)
        assert open_descriptors() == before


@pytest.mark.parametrize("count", [0, 2, 5, 40])
async def test_any_other_number_of_descriptors_is_refused(
    pair: tuple[socket.socket, socket.socket], count: int
) -> None:
    ours, theirs = pair
    with listener() as egress:
        before = open_descriptors()
        socket.send_fds(theirs, [b"ready"], [egress.fileno()] * count)
        with pytest.raises(HostError):
            await handshake.ready(ours)
        assert open_descriptors() == before


@pytest.mark.parametrize("word", [b"READY", b"x", b"readx", b"rea"])
async def test_any_other_word_is_refused(
    pair: tuple[socket.socket, socket.socket], word: bytes
) -> None:
    ours, theirs = pair
    with listener() as egress:
        before = open_descriptors()
        socket.send_fds(theirs, [word], [egress.fileno()])
        with pytest.raises(HostError):
            await handshake.ready(ours)
        assert open_descriptors() == before


async def test_what_follows_the_word_is_left_for_the_box(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    with listener() as egress:
        socket.send_fds(theirs, [b"ready"], [egress.fileno()])
        theirs.sendall(b"a frame")
        with await handshake.ready(ours):
            assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"a frame"


async def test_a_guest_that_ended_is_named_as_such(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(HostError, match="ended before it was ready"):
        await handshake.ready(ours)


def test_a_socket_that_nobody_holds_cannot_be_connected(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(folder / "gone.sock"))
        gone.listen()
    before = open_descriptors()
    with pytest.raises(OSError):
        handshake.connect(folder / "gone.sock")
    assert open_descriptors() == before
