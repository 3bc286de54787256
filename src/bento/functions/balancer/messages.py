"""What a front and a replica say to each other: frames, one message each. No I/O.

    u24 length | u8 tag | fields

    front -> replica    Serve, Content ..., then any of Join, Ping; Leave at the end
    replica -> front    Ready, then any of Joined, Failed, Report; Left at the end

Each side knows only the messages it may get: any other, or one that is not exactly in its form, is a
RemoteProtocolError. They travel inside a session of the replica, which is sealed up to its box.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.functions.balancer.fleet import Load
from bento.onion import handover
from bento.onion.wire import Reader

MAX_FRAME = 64 * 1024
"""Bytes after a frame's length: a piece of content and its tag, with room."""

PIECE = 48 * 1024
"""Bytes of content in one frame."""

MAX_CONTENT = 32 << 20
"""Bytes of a service's content: every replica holds all of it in memory."""

MAX_TEXT = 200
_LENGTH = 3
MAX_RATE = 12_500_000_000
"""Bytes a second that a replica may claim to send, or to be able to: 100 Gbit/s."""

_LOAD = struct.Struct(">IIIIQQ")
_SERVE = struct.Struct(">BBI")
_VISITOR = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Serve:
    """The first word. `kind` names the content (`site.KINDS`), of which `size` bytes follow.
    `increment`: cells that the service's descriptor says are acknowledged at once; 0 for fixed windows."""

    kind: int
    increment: int
    size: int


@dataclass(frozen=True, slots=True)
class Content:
    data: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """A visitor that waits. `record` is `onion.handover`'s."""

    visitor: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """The front is there: a replica that hears nothing for its lease takes it for dead."""


@dataclass(frozen=True, slots=True)
class Leave:
    """End when the last stream has ended."""


@dataclass(frozen=True, slots=True)
class Ready:
    """It serves now. `region`: where it stands, in any words; may be empty."""

    region: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    visitor: int


@dataclass(frozen=True, slots=True)
class Failed:
    visitor: int


@dataclass(frozen=True, slots=True)
class Report:
    load: Load


@dataclass(frozen=True, slots=True)
class Left:
    """Nobody is there any more; nothing follows."""


ToReplica = Serve | Content | Join | Ping | Leave
ToFront = Ready | Joined | Failed | Report | Left
Message = ToReplica | ToFront


def encode(message: Message) -> bytes:
    """One frame."""
    body = bytes([_TAGS[type(message)]]) + _body(message)
    if len(body) > MAX_FRAME:
        raise LocalProtocolError("a message is larger than a frame")
    return len(body).to_bytes(_LENGTH, "big") + body


def content_frames(data: bytes) -> list[bytes]:
    """A service's content as frames."""
    return [encode(Content(data[at : at + PIECE])) for at in range(0, len(data), PIECE)]


class Frames:
    """Bytes of one direction -> messages. `expected`: TO_REPLICA or TO_FRONT."""

    def __init__(self, expected: frozenset[type[Message]]) -> None:
        self._expected = expected
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """What is complete now. RemoteProtocolError for anything that should not be there."""
        self._held += data
        found: list[Message] = []
        while len(self._held) >= _LENGTH:
            size = int.from_bytes(self._held[:_LENGTH], "big")
            if not 0 < size <= MAX_FRAME:
                raise RemoteProtocolError("a frame between front and replica has a wrong size")
            if len(self._held) < _LENGTH + size:
                break
            body = bytes(self._held[_LENGTH : _LENGTH + size])
            del self._held[: _LENGTH + size]
            found.append(self._read(body))
        return found

    def _read(self, body: bytes) -> Message:
        kind = _KINDS.get(body[0])
        if kind is None or kind not in self._expected:
            raise RemoteProtocolError("a front and a replica do not understand each other")
        reader = Reader(body[1:], f"the message {kind.__name__}")
        message = _parse(kind, reader)
        reader.end()
        return message


TO_REPLICA: frozenset[type[Message]] = frozenset({Serve, Content, Join, Ping, Leave})
TO_FRONT: frozenset[type[Message]] = frozenset({Ready, Joined, Failed, Report, Left})

_VISITORS: Mapping[type[Message], Callable[[int], Message]] = {Joined: Joined, Failed: Failed}
_BARE: Mapping[type[Message], Message] = {Ping: Ping(), Leave: Leave(), Left: Left()}
_KINDS: Mapping[int, type[Message]] = {
    1: Serve, 2: Content, 3: Join, 4: Ping, 5: Leave,
    17: Ready, 18: Joined, 19: Failed, 20: Report, 21: Left,
}  # fmt: skip
_TAGS = {kind: tag for tag, kind in _KINDS.items()}


def _body(message: Message) -> bytes:
    match message:
        case Serve(kind, increment, size):
            return _SERVE.pack(kind, increment, size)
        case Content(data):
            return data
        case Join(visitor, record):
            return _VISITOR.pack(visitor) + record
        case Ready(region):
            return region.encode()
        case Joined(visitor) | Failed(visitor):
            return _VISITOR.pack(visitor)
        case Report(load):
            who = (load.joined, load.active, load.lingering, load.sharing)
            return _LOAD.pack(*who, int(load.rate), int(load.uplink))
        case Ping() | Leave() | Left():
            return b""


def _parse(kind: type[Message], reader: Reader) -> Message:
    if kind is Serve:
        serve = Serve(*_SERVE.unpack(reader.take(_SERVE.size)))
        if serve.size > MAX_CONTENT:
            raise RemoteProtocolError("a service's content is too large")
        return serve
    if kind is Content:
        return Content(reader.rest())
    if kind is Join:
        visitor, record = reader.uint(8), reader.rest()
        handover.parse(record)
        return Join(visitor, record)
    if kind is Ready:
        return Ready(_text(reader.rest()))
    if kind is Report:
        return Report(_load(*_LOAD.unpack(reader.take(_LOAD.size))))
    if (made := _VISITORS.get(kind)) is not None:
        return made(reader.uint(8))
    return _BARE[kind]


def _load(joined: int, active: int, lingering: int, sharing: int, rate: int, uplink: int) -> Load:
    """What cannot be is refused; what is only untrue is the fleet's to bound."""
    if active + lingering > joined or sharing > joined or max(rate, uplink) > MAX_RATE:
        raise RemoteProtocolError("a replica reports a load that cannot be")
    return Load(joined, active, float(rate), float(uplink), lingering, sharing)


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if len(data) > MAX_TEXT or (data and not text) or not text.isprintable():
        raise RemoteProtocolError("a replica describes its place in no words")
    return text
