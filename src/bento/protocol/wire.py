"""Messages and frames.

A frame is `u32 length | u8 tag | body`; `length` counts tag and body, big-endian like all integers here.
A body is its message's fields one after the other, each by its kind, nothing optional and nothing
left over. Invariant: any bytes, fed whole or one by one, give the same messages or raise
RemoteProtocolError; no frame above the reader's limit is ever held.

Why not msgpack: importing a codec library costs the guest 19 ms of a 10 ms start. Everything here is
`struct` and slices.
"""

from __future__ import annotations

from _struct import Struct  # struct.py, which adds nothing, would be read at each start
from _struct import error as StructError  # type: ignore[attr-defined]

from bento.errors import LocalProtocolError, RemoteProtocolError

TYPE_CHECKING = False  # typing costs 4 ms inside the sandbox; checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, dataclass_transform
else:

    def dataclass_transform(**_):  # type: ignore[no-untyped-def]
        return lambda cls: cls


_LENGTH = Struct(">I")


class Kind:
    """How one field is written and read; `decode` returns the value and where it ended."""

    def encode(self, value: Any, out: bytearray) -> None:
        raise NotImplementedError  # pragma: no cover

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        raise NotImplementedError  # pragma: no cover


class UInt(Kind):
    """An unsigned integer of 1, 2, 4 or 8 bytes."""

    def __init__(self, size: int) -> None:
        self._struct = Struct(">" + {1: "B", 2: "H", 4: "I", 8: "Q"}[size])

    def encode(self, value: Any, out: bytearray) -> None:
        try:
            out += self._struct.pack(value)
        except StructError as error:
            raise LocalProtocolError(f"{value!r} does not fit its field") from error

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        end = at + self._struct.size
        if end > len(body):
            raise RemoteProtocolError("a message ends inside a number")
        return self._struct.unpack_from(body, at)[0], end


class Flag(Kind):
    """One byte, 0 or 1."""

    def encode(self, value: Any, out: bytearray) -> None:
        out.append(1 if value else 0)

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        if at >= len(body) or body[at] > 1:
            raise RemoteProtocolError("a flag is neither 0 nor 1")
        return bool(body[at]), at + 1


class Fixed(Kind):
    """Exactly `size` bytes, or none at all where `optional`."""

    def __init__(self, size: int, *, optional: bool = False) -> None:
        self._sizes = (0, size) if optional else (size,)

    def encode(self, value: Any, out: bytearray) -> None:
        if len(value) not in self._sizes:
            raise LocalProtocolError(f"a field of {self._sizes[-1]} bytes was given {len(value)}")
        out.append(len(value))
        out += value

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        if at >= len(body) or body[at] not in self._sizes or at + 1 + body[at] > len(body):
            raise RemoteProtocolError(f"a field of {self._sizes[-1]} bytes has another size")
        end = at + 1 + body[at]
        return bytes(body[at + 1 : end]), end


class Blob(Kind):
    """Up to `limit` bytes behind a u32 length."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def encode(self, value: Any, out: bytearray) -> None:
        if len(value) > self.limit:
            raise LocalProtocolError(f"{len(value)} bytes in a field of at most {self.limit}")
        out += _LENGTH.pack(len(value))
        out += value

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        start = at + 4
        if start > len(body):
            raise RemoteProtocolError("a message ends inside a length")
        end = start + _LENGTH.unpack_from(body, at)[0]
        if end - start > self.limit or end > len(body):
            raise RemoteProtocolError("a field is longer than its limit or its message")
        return bytes(body[start:end]), end


class Text(Blob):
    """Up to `limit` bytes of strict UTF-8."""

    def encode(self, value: Any, out: bytearray) -> None:
        super().encode(value.encode(), out)

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        raw, end = super().decode(body, at)
        try:
            return raw.decode(), end
        except UnicodeDecodeError as error:
            raise RemoteProtocolError("a text field is not UTF-8") from error


class List(Kind):
    """Up to `limit` (at most 255) values of one kind, as a tuple."""

    def __init__(self, kind: Kind, limit: int) -> None:
        self._kind = kind
        self._limit = limit

    def encode(self, value: Any, out: bytearray) -> None:
        if len(value) > self._limit:
            raise LocalProtocolError(f"{len(value)} items in a list of at most {self._limit}")
        out.append(len(value))
        for item in value:
            self._kind.encode(item, out)

    def decode(self, body: memoryview, at: int) -> tuple[Any, int]:
        if at >= len(body) or body[at] > self._limit:
            raise RemoteProtocolError("a list is longer than its limit or its message")
        items = []
        count, at = body[at], at + 1
        for _ in range(count):
            item, at = self._kind.decode(body, at)
            items.append(item)
        return tuple(items), at


U8, U16, U32, U64, FLAG = UInt(1), UInt(2), UInt(4), UInt(8), Flag()


class Field:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind


def field(kind: Kind) -> Any:
    """Declares a field of a message; the order of declaration is the order on the wire."""
    return Field(kind)


@dataclass_transform(field_specifiers=(field,))
class Message:
    """A message type: `class Name(Message, tag=N)` with one `field(kind)` a line."""

    TAG: int
    _fields: tuple[tuple[str, Kind], ...]

    def __init_subclass__(cls, tag: int) -> None:
        cls.TAG = tag
        named = [(name, value) for name, value in vars(cls).items() if isinstance(value, Field)]
        cls._fields = tuple((name, value.kind) for name, value in named)
        for name, _ in named:
            delattr(cls, name)

    def __init__(self, *values: Any, **named: Any) -> None:
        for (name, _), value in zip(self._fields, values, strict=False):
            setattr(self, name, value)
        for name, value in named.items():
            setattr(self, name, value)
        if len(self.__dict__) != len(self._fields):
            raise LocalProtocolError(f"{type(self).__name__} needs all of its fields, once each")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        # Never the fields: they hold tokens, code and what people send.
        return f"<{type(self).__name__}>"


def encode(message: Message) -> bytes:
    """The frame of `message`. Raises LocalProtocolError when a field is over its limit."""
    out = bytearray(5)
    out[4] = message.TAG
    for name, kind in message._fields:
        kind.encode(getattr(message, name), out)
    out[:4] = _LENGTH.pack(len(out) - 4)
    return bytes(out)


def encode_uncopied(message: Message) -> tuple[bytes, bytes]:
    """The frame of a `message` that ends with a blob, in two: what stands before the blob, and the blob."""
    *_, (last, kind) = message._fields
    blob: bytes = getattr(message, last)
    size = len(blob)
    assert isinstance(kind, Blob)
    if size > kind.limit:
        raise LocalProtocolError(f"{size} bytes in a field of at most {kind.limit}")
    out = bytearray(5)
    out[4] = message.TAG
    for name, kind in message._fields[:-1]:
        kind.encode(getattr(message, name), out)
    out += _LENGTH.pack(size)
    out[:4] = _LENGTH.pack(len(out) + size - 4)
    return bytes(out), blob


class FrameReader:
    """Bytes to messages of the given types, for one direction of one connection.

    After `stop()` nothing more is parsed and `rest()` hands over the bytes that follow: that is how
    a connection stops being the box's and becomes the guest's.
    """

    def __init__(self, types: Sequence[type[Message]], limit: int) -> None:
        self._types = {cls.TAG: cls for cls in types}
        self._limit = limit
        self._buffer = bytearray()
        self._stopped = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yields the messages completed by `data`. Raises RemoteProtocolError at the first bad one."""
        self._buffer += data
        while not self._stopped and len(self._buffer) >= 4:
            length = _LENGTH.unpack_from(self._buffer)[0]
            if not 1 <= length <= self._limit:
                raise RemoteProtocolError(
                    f"a frame of {length} bytes; the limit here is {self._limit}"
                )
            if len(self._buffer) < 4 + length:
                return
            with memoryview(self._buffer) as view:
                message = self._decode(view[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield message

    def stop(self) -> None:
        self._stopped = True

    @property
    def held(self) -> int:
        """Bytes behind the last message."""
        return len(self._buffer)

    def rest(self) -> bytes:
        """The bytes behind the last message, once; the reader holds none afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _decode(self, body: memoryview) -> Message:
        with body:
            cls = self._types.get(body[0])
            if cls is None:
                raise RemoteProtocolError(f"a message of type {body[0]} has no place here")
            values = []
            at = 1
            for _, kind in cls._fields:
                value, at = kind.decode(body, at)
                values.append(value)
            if at != len(body):
                raise RemoteProtocolError(f"{len(body) - at} bytes behind a {cls.__name__}")
            return cls(*values)
