"""One request of a function to another box: through its own box's broker, and checked end to end.

The other box's policy must be signed by the key whose hash the ticket names, or, for a box that was only
named, the one its relay announces: whoever carries the bytes can cut them off and not answer for it.
A conclave's requests, but for those that end a child or let it go on, are sealed for the other box: its own
learns how much is asked for, and the token that ends the child.
"""

from __future__ import annotations

import contextlib
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode

from bento.errors import BentoError, BoxError, TorError
from bento.guest.way_out import PORT
from bento.protocol import broker
from bento.protocol.capability import Capability
from bento.protocol.door import (
    Busy,
    ClientDoor,
    Create,
    Open,
    Refused,
    Seal,
    Sealed,
    Shutdown,
    Welcome,
)
from bento.protocol.manifest import Manifest
from bento.protocol.policy import verify
from bento.protocol.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from bento.protocol.door import Answer, Request
    from bento.protocol.wire import Message

    class Walls(Protocol):
        """A conclave's own: see `guest.enclosure`."""

        @property
        def own_box(self) -> bytes: ...

        def to_box(self, sock: Any, key_hash: bytes, early: bytes) -> Any: ...


_READ = 1 << 18
_SECONDS = 150.0  # for an answer: the broker gives up before


class Broken(BoxError):
    """The way to the other box broke; whether what was asked of it was done is not known."""


class Place:
    """Another box: its relay's nickname and fingerprint (40 hex digits), and the SHA-256 of its key."""

    def __init__(self, nickname: str, fingerprint: str, key: bytes) -> None:
        self.nickname = nickname
        self.fingerprint = fingerprint
        self.key = key

    def __repr__(self) -> str:
        return f"<box {self.nickname}>"


class Pipe:
    """A connection that leads to another box's guest; `early` came with the box's answer."""

    def __init__(self, sock: Any, early: bytes = b"") -> None:
        self.sock = sock
        self.early = early

    def close(self) -> None:
        """Wakes whoever reads from it."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was cut already
        self.sock.close()


def survey() -> list[Place]:
    """Every box that this one knows."""
    found: list[Place] = []
    with _dial() as sock:
        while True:
            said = _ask(sock, broker.Survey(len(found)))
            assert isinstance(said, broker.Surveyed)
            if not said.boxes:
                return found
            found += map(listed, said.boxes)


def find(name: str) -> Place:
    """The box of that name, by the word of this one. Raises BoxError."""
    with _dial() as sock:
        return _reach(sock, name)


def knock(
    place: Place, request: Request, follow: bytes = b"", walls: Walls | None = None
) -> tuple[Answer, Pipe]:
    """Sends `request` (and `follow`, for the guest behind it) to the box of `place`, from within `walls` so
    that nobody else reads it.

    Raises its refusal as the error it is, BoxError when it shows another key, Broken when it hangs up."""
    if walls is not None and isinstance(request, Create | Open):
        return _knock_sealed(place, request, follow, walls)
    with _dialled(place) as sock:
        return _asked(sock, request, follow, place)


def _knock_sealed(
    place: Place, request: Create | Open, follow: bytes, walls: Walls
) -> tuple[Answer, Pipe]:
    sealed = None
    try:
        with _dialled(place) as sock:
            sealed, pipe = _asked(sock, _shown_of(request), b"", place)
            sock.settimeout(_SECONDS)
            inside = walls.to_box(sock, place.key, pipe.early)
            return _asked(inside, request, follow, place)
    except BaseException:
        if isinstance(request, Create) and isinstance(sealed, Sealed):
            _nothing_began(place, sealed)
        raise


def _shown_of(request: Create | Open) -> Seal:
    """What is said of a sealed request in the open."""
    if isinstance(request, Open):
        return Seal(0, 0, 0, Capability.parse(request.token).name)
    manifest = Manifest.parse(request.manifest)
    return Seal(1 + manifest.boxes, manifest.lifetime, manifest.lease, b"")


def _nothing_began(place: Place, sealed: Sealed) -> None:
    """Or it ends now; its place is free again either way."""
    try:
        knock(place, Shutdown(sealed.shutdown, b""))[1].close()
    except BentoError:
        pass  # there is none; or its lease ends it


def _asked(sock: Any, request: Request, follow: bytes, place: Place) -> tuple[Answer, Pipe]:
    door = ClientDoor()
    sock.sendall(door.request(request) + follow)
    answer = _answer(sock, door, place)
    sock.settimeout(None)
    return answer, Pipe(sock, door.rest())


@contextlib.contextmanager
def _dialled(place: Place) -> Iterator[socket.socket]:
    """A connection to the box, closed if what is done with it fails."""
    sock = _dial()
    try:
        _reach_again(sock, place)
        yield sock
    except OSError as error:
        sock.close()
        raise Broken("the other box does not answer", "try again, or use another one") from error
    except BaseException:
        sock.close()
        raise


def _answer(sock: Any, door: ClientDoor, place: Place) -> Answer:
    expected = urlsafe_b64encode(place.key).decode().rstrip("=")
    while data := sock.recv(_READ):
        for message in door.receive(data):
            if isinstance(message, Refused | Busy):
                raise _refusal(message)
            if not isinstance(message, Welcome):
                return message
            verify(message.policy, message.signature, message.key, expected)
    raise Broken("the other box hung up", "try again, or use another one")


def _dial() -> socket.socket:
    try:
        return socket.create_connection(("127.0.0.1", PORT), _SECONDS)
    except OSError as error:
        raise Broken("the function's own box does not answer", "try again") from error


def _reach(sock: socket.socket, name: str) -> Place:
    said = _ask(sock, broker.Reach(name))
    assert isinstance(said, broker.Reached)
    return Place(said.nickname, said.fingerprint.hex().upper(), said.key)


def _reach_again(sock: socket.socket, place: Place) -> None:
    try:
        _reach(sock, place.fingerprint)
    except BentoError as error:  # it was there before
        raise Broken(error.detail, error.hint) from None


def _refusal(message: Refused | Busy) -> BentoError:
    error = message.error()
    return Broken(error.detail, error.hint) if isinstance(error, TorError) else error


def _ask(sock: socket.socket, message: Message) -> Message:
    sock.sendall(encode(message))
    reader = broker.guest_reader()
    while data := sock.recv(_READ):
        for said in reader.feed(data):
            if isinstance(said, Refused):
                raise said.error()
            return said
    raise Broken("the function's own box hung up", "try again")


def listed(line: str) -> Place:
    """The place of a line NICKNAME FINGERPRINT KEY. Raises ValueError."""
    nickname, fingerprint, key = line.split()
    return Place(nickname, fingerprint, urlsafe_b64decode(key + "="))
