"""Call arguments as bytes: None, bool, int, float, str, bytes, list, dict with str keys.

One tag byte, then the value; every length is a u32. Strict on both sides: a type outside the list is
a LocalProtocolError, any malformed, too deep or too numerous input a RemoteProtocolError.
"""

from __future__ import annotations

from _struct import Struct

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.protocol import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Value = None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]

_U32 = Struct(">I")
_DOUBLE = Struct(">d")
_INT_BYTES = 256  # integers up to 2047 bits: larger ones travel as bytes or text


def encode_values(value: Value) -> bytes:
    """`value` as bytes, at most limits.ARGUMENTS of them."""
    out = bytearray()
    _encode(value, out, 0)
    if len(out) > limits.ARGUMENTS:
        raise LocalProtocolError(
            f"the arguments take {len(out)} bytes; the limit is {limits.ARGUMENTS}",
            "send large input through the input stream",
        )
    return bytes(out)


def decode_values(data: bytes) -> Value:
    """The value in `data`; lists come back as lists, maps as dicts."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise RemoteProtocolError("bytes behind the arguments")
    return value


def _sized(tag: bytes, raw: bytes, out: bytearray) -> None:
    out += tag
    out += _U32.pack(len(raw))
    out += raw


def _encode(value: Value, out: bytearray, depth: int) -> None:
    if depth > limits.VALUE_DEPTH:
        raise LocalProtocolError(f"arguments are nested deeper than {limits.VALUE_DEPTH}")
    if value is None:
        out += b"N"
    elif value is True or value is False:
        out += b"T" if value else b"F"
    elif isinstance(value, int):
        size = value.bit_length() // 8 + 1
        if size > _INT_BYTES:
            raise LocalProtocolError(f"an integer of {value.bit_length()} bits is too large")
        _sized(b"I", value.to_bytes(size, "big", signed=True), out)
    elif isinstance(value, float):
        out += b"D" + _DOUBLE.pack(value)
    elif isinstance(value, str):
        _sized(b"S", value.encode(), out)
    elif isinstance(value, bytes | bytearray | memoryview):
        _sized(b"B", bytes(value), out)
    elif isinstance(value, list | tuple):
        out += b"L" + _U32.pack(len(value))
        for item in value:
            _encode(item, out, depth + 1)
    elif isinstance(value, dict):
        out += b"M" + _U32.pack(len(value))
        for key, item in value.items():
            if not isinstance(key, str):
                raise LocalProtocolError("the keys of a map must be text")
            _encode(key, out, depth + 1)
            _encode(item, out, depth + 1)
    else:
        raise LocalProtocolError(
            f"a {type(value).__name__} cannot be an argument",
            "use None, bool, int, float, str, bytes, list or dict",
        )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.items = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise RemoteProtocolError("the arguments end too early")
        raw = self.data[self.at : end]
        self.at = end
        return raw

    def size(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def value(self, depth: int) -> Value:
        self.items += 1
        if depth > limits.VALUE_DEPTH or self.items > limits.VALUE_ITEMS:
            raise RemoteProtocolError("the arguments are nested too deep or too many")
        tag = self.take(1)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag == b"I":
            size = self.size()
            if not 1 <= size <= _INT_BYTES:
                raise RemoteProtocolError("an integer argument has a forbidden size")
            return int.from_bytes(self.take(size), "big", signed=True)
        if tag == b"D":
            return float(_DOUBLE.unpack(self.take(8))[0])
        if tag == b"B":
            return self.take(self.size())
        if tag == b"S":
            return self.text()
        if tag == b"L":
            return [self.value(depth + 1) for _ in range(self.size())]
        if tag == b"M":
            return self.map(depth)
        raise RemoteProtocolError("an argument has an unknown type")

    def text(self) -> str:
        try:
            return self.take(self.size()).decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError("a text argument is not UTF-8") from error

    def map(self, depth: int) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for _ in range(self.size()):
            key = self.value(depth + 1)
            if not isinstance(key, str) or key in result:
                raise RemoteProtocolError("a map of arguments has a bad or repeated key")
            result[key] = self.value(depth + 1)
        return result


_CONSTANTS: dict[bytes, Value] = {b"N": None, b"T": True, b"F": False}
