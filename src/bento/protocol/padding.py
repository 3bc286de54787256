"""What a client sends first has a size out of a small public set, so that its size tells little.

    a request at the door      Hello, Pad, request             DOOR_CLASS x 2^k
    what the guest gets first  Load, Code…, Invoke, Pad        UPLOAD_CLASS x 2^k
                               Invoke or Attach, Pad           CALL_CLASS x 2^k

Classes double up to LARGE and are multiples of LARGE beyond it, less ROOM each. Whoever reads a Pad
forgets it. Uploads travel compressed where that helps (`pack`, `unpack`): it brings every shipped
function into the smallest class, and that class into one flight of a fresh circuit.

Not hidden by it: how often and when somebody talks, what follows these first messages in a
session, and everything in the other direction: padding an answer is its function's choice.
"""

from __future__ import annotations

from bento.errors import FunctionError
from bento.protocol import limits
from bento.protocol.wire import Blob, Message, encode, field

DOOR_CLASS = 4 * limits.KIB
"""Hello and request: room for a manifest, for a token with its caveats, and what else admits."""

CALL_CLASS = 4 * limits.KIB
"""A call of an installed function with small arguments: 9 cells, as the request before it."""

UPLOAD_CLASS = 32 * limits.KIB
"""Code with its first call: 68 cells, within a fresh circuit's first window (124, proposal 324)."""

LARGE = 1 * limits.MIB
"""Above it doubling would cost too much: a 33 MiB function would travel as 64."""

ROOM = 16
"""Bytes of each class left to what wraps it: an attested channel has frames of 2^k bytes itself, head
included, and one byte too many would double them."""

_OVERHEAD = 9  # bytes of a Pad around its data
_PIECE = limits.CHUNK

_ZLIB = b"\x78\xda"  # RFC 1950, best compression. No UTF-8 text begins so, and no zip file.
_COMPRESSED = 1 * limits.MIB  # larger uploads are archives, packed already


class Pad(Message, tag=0x7F):
    data: bytes = field(Blob(limits.CHUNK_MAX))


def padded(size: int, smallest: int) -> int:
    """The class of `size` bytes, both in bytes, in the set that begins at `smallest`."""
    while smallest < LARGE:
        if size <= smallest - ROOM:
            return smallest - ROOM
        smallest *= 2
    return -(-(size + ROOM) // LARGE) * LARGE - ROOM


def fill(size: int, smallest: int) -> bytes:
    """Pad frames that bring `size` bytes to a class exactly. There is always one."""
    missing = padded(size + _OVERHEAD, smallest) - size
    frames = bytearray()
    while missing > _PIECE + 2 * _OVERHEAD:
        frames += encode(Pad(bytes(_PIECE)))
        missing -= _PIECE + _OVERHEAD
    return bytes(frames + encode(Pad(bytes(missing - _OVERHEAD))))


def pack(upload: bytes) -> bytes:
    """An upload as it travels: compressed if it would need a larger class otherwise, or if it only
    looks compressed, as the random salt of a conclave's may."""
    looks = upload.startswith(_ZLIB)
    if not looks and not UPLOAD_CLASS // 2 < len(upload) <= _COMPRESSED:
        return upload
    import zlib

    packed = zlib.compress(upload, 9)
    return packed if looks or len(packed) < len(upload) else upload


def unpack(packed: bytearray, limit: int) -> bytearray:
    """The upload again, of at most `limit` bytes. Raises FunctionError on anything else."""
    if not packed.startswith(_ZLIB):
        return packed
    import zlib

    stream = zlib.decompressobj()
    try:
        upload = bytearray(stream.decompress(packed, limit + 1))
    except zlib.error:
        raise FunctionError("the upload was damaged", "install the function again") from None
    if len(upload) > limit or not stream.eof or stream.unused_data:
        raise FunctionError(
            f"the upload is not one function of at most {limit} bytes", "install a smaller one"
        )
    return upload
