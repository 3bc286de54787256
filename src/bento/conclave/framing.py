"""Frames inside the attested channel, padded to buckets so that sizes say little.

    length:u32 kind:u8 payload zeros...      whole frame: one of BUCKETS bytes

Invariant: the size of a frame is a function of its payload's bucket alone; a frame has one spelling
(the smallest bucket that holds it, padding all zero); any bytes give frames or RemoteProtocolError,
the same ones whether fed whole or byte by byte. Runs in the guest too: standard library only.
"""

from __future__ import annotations

import struct

from bento.errors import LocalProtocolError, RemoteProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Powers of two: at most half of a frame is padding, and a size is known within a factor of two.
# 512 holds a token or a short answer; 64 KiB is four TLS records.
BUCKETS = tuple(512 << n for n in range(8))
_HEAD = struct.Struct(">IB")
MAX_PAYLOAD = BUCKETS[-1] - _HEAD.size
_ZEROS = bytes(BUCKETS[-1])

ATTEST, EVIDENCE, DATA, CLOSE = 1, 2, 3, 4
_KINDS = frozenset((ATTEST, EVIDENCE, DATA, CLOSE))


def bucket(size: int) -> int:
    """The size of the frame that carries `size` payload bytes."""
    total = size + _HEAD.size
    for limit in BUCKETS:
        if total <= limit:
            return limit
    raise LocalProtocolError(f"a frame carries at most {MAX_PAYLOAD} bytes, not {size}")


def encode(kind: int, payload: bytes | memoryview) -> bytes:
    """One frame."""
    size = len(payload)
    padding = bucket(size) - size - _HEAD.size
    return b"".join((_HEAD.pack(size, kind), payload, _ZEROS[:padding]))


def split(payload: bytes) -> Iterator[memoryview]:
    """A long payload in pieces that fit frames; nothing gives one empty piece."""
    view = memoryview(payload)
    for start in range(0, max(len(view), 1), MAX_PAYLOAD):
        yield view[start : start + MAX_PAYLOAD]


class FrameReader:
    """Collects bytes and gives whole frames; holds less than one frame between calls."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Frames completed by `data`, as (kind, payload). Raises RemoteProtocolError."""
        self._buffer += data
        frames, at = [], 0
        with memoryview(self._buffer) as view:
            while len(view) - at >= _HEAD.size:
                size, kind = _HEAD.unpack_from(view, at)
                if kind not in _KINDS or size > MAX_PAYLOAD:
                    raise RemoteProtocolError("a frame of the channel has an unknown form")
                end, start = at + bucket(size), at + _HEAD.size
                if end > len(view):
                    break
                if view[start + size : end] != _ZEROS[: end - start - size]:
                    raise RemoteProtocolError("a frame of the channel is not padded with zeros")
                frames.append((kind, bytes(view[start : start + size])))
                at = end
        del self._buffer[:at]
        return frames

    @property
    def idle(self) -> bool:
        """No frame is half received."""
        return not self._buffer
