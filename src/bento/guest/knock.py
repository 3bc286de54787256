"""One request of a function to another box: through its own box's broker, and checked end to end.

The other box's policy must be signed by the key whose hash the ticket names, or, for a box that was only
named, the one its relay announces: whoever carries the bytes can cut them off and not answer for it.
"""

from __future__ import annotations

import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode

from bento.errors import BentoError, BoxError, TorError
from bento.guest.way_out import PORT
from bento.protocol import broker
from bento.protocol.door import Busy, ClientDoor, Refused, Welcome
from bento.protocol.policy import verify
from bento.protocol.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.protocol.door import Answer, Request
    from bento.protocol.wire import Message

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

    def __init__(self, sock: socket.socket, early: bytes = b"") -> None:
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
            found += map(_listed, said.boxes)


def find(name: str) -> Place:
    """The box of that name, by the word of this one. Raises BoxError."""
    with _dial() as sock:
        return _reach(sock, name)


def knock(place: Place, request: Request, follow: bytes = b"") -> tuple[Answer, Pipe]:
    """Sends `request` (and `follow`, for the guest behind it) to the box of `place`.

    Raises its refusal as the error it is, BoxError when it shows another key, Broken when it hangs up."""
    sock = _dial()
    try:
        _reach_again(sock, place)
        door = ClientDoor()
        sock.sendall(door.request(request) + follow)
        answer = _answer(sock, door, place)
        sock.settimeout(None)
    except OSError as error:
        sock.close()
        raise Broken("the other box does not answer", "try again, or use another one") from error
    except BaseException:
        sock.close()
        raise
    return answer, Pipe(sock, door.rest())


def _answer(sock: socket.socket, door: ClientDoor, place: Place) -> Answer:
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


def _listed(line: str) -> Place:
    nickname, fingerprint, key = line.split()
    return Place(nickname, fingerprint, urlsafe_b64decode(key + "="))
