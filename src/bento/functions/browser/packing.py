"""A page pack as bytes: the answer that travels from the box to the client.

    answer  = warm-up sized           the warm-up is so many zeros as its size set has (sizes.py)
    sized   = header frame padding    its length is exactly a member of the size set
    header  = "bentopk1" length       16 bytes: a magic word, then the frame's length (u64)
    frame   = one zstd frame, with a checksum, that states the size of its content
    padding = zeros
    content = the fields of Pack, in order, each exchange in the order the page asked for it
              number: u32 (the date: u64) | text: u32 length, UTF-8 | blob: u32 length, bytes

Numbers are big endian. The box is not trusted: any bytes give a Pack or a PackError, fed whole or
byte by byte, and nothing is decompressed before its size is known to be within bounds. A Pack has
one content: decoded and encoded again it is the same. Pure; the guest encodes, the client decodes.
"""

import struct
from collections.abc import Iterable

import zstandard

from .pack import (
    MAX_BODY_BYTES,
    MAX_CUTS,
    MAX_DATE,
    MAX_EXCHANGES,
    MAX_HEADERS,
    MAX_TEXT_CHARS,
    MAX_URL_CHARS,
    MAX_VALUE_CHARS,
    Cut,
    Exchange,
    Failure,
    Headers,
    Pack,
    PackError,
    must,
)
from .sizes import MAX_ANSWER_BYTES, MIB, padded_size, warm_up

MAGIC = b"bentopk1"
HEADER = struct.Struct(">8sQ")

MAX_CONTENT_BYTES = 80 * MIB
"""Bodies 32, MHTML 24, picture 8 MiB (limits.py), the rest text."""

COMPRESSION_LEVEL = 9
"""On Debian's pages level 9 is within 1 % of level 12 at twice its speed (about 60 MB/s)."""


# --- writing ---------------------------------------------------------------------------------


class _Writer:
    """Gathers pieces; bodies are kept by reference, so a large page is not held twice."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def number(self, value: int, form: str = ">I") -> None:
        self.pieces.append(struct.pack(form, value))

    def blob(self, value: bytes) -> None:
        self.number(len(value))
        self.pieces.append(value)

    def text(self, value: str) -> None:
        self.blob(value.encode())

    def headers(self, headers: Headers) -> None:
        self.number(len(headers))
        for name, value in headers:
            self.text(name)
            self.text(value)

    def exchange(self, exchange: Exchange) -> None:
        self.text(exchange.method)
        self.text(exchange.url)
        self.headers(exchange.request_headers)
        self.blob(exchange.request_body)
        self.number(exchange.status)
        self.text(exchange.reason)
        self.headers(exchange.headers)
        self.blob(exchange.body)
        self.text(exchange.error)
        self.text(exchange.cut)

    def pack(self, pack: Pack) -> None:
        self.text(pack.url)
        self.text(pack.final_url)
        self.text(pack.title)
        self.number(pack.date, ">Q")
        self.text(pack.software)
        self.text(pack.failure.kind if pack.failure else "")
        self.text(pack.failure.detail if pack.failure else "")
        self.number(len(pack.cuts))
        for cut in pack.cuts:
            self.text(cut.limit)
            self.text(cut.detail)
        self.number(len(pack.exchanges))
        for exchange in pack.exchanges:
            self.exchange(exchange)
        self.blob(pack.picture)
        self.blob(pack.mhtml)


def encode(pack: Pack, padding: str) -> list[bytes]:
    """The answer after its warm-up, in pieces; their lengths add up to a member of the set `padding`.

    Raises PackError if the content is larger than the format allows.
    """
    writer = _Writer()
    writer.pack(pack)
    size = sum(map(len, writer.pieces))
    must(size <= MAX_CONTENT_BYTES, "the page is too large to be packed")
    frame = _compress(writer.pieces, size)
    length = sum(map(len, frame))
    used = HEADER.size + length
    return [HEADER.pack(MAGIC, length), *frame, *zeros(padded_size(padding, used) - used)]


def _compress(pieces: Iterable[bytes], size: int) -> list[bytes]:
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    stream = compressor.compressobj(size=size)
    frame = [stream.compress(piece) for piece in pieces]
    frame.append(stream.flush())
    return [piece for piece in frame if piece]


def zeros(count: int) -> list[bytes]:
    """So many zeros, as one block named again and again: padding costs no memory."""
    block = bytes(64 * 1024)
    whole, rest = divmod(count, len(block))
    return [block] * whole + ([bytes(rest)] if rest else [])


# --- reading ---------------------------------------------------------------------------------


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def _take(self, count: int) -> memoryview:
        taken = self._data[self._at : self._at + count]
        must(len(taken) == count, "the pack ends in the middle of a field")
        self._at += count
        return taken

    def number(self, most: int, form: str = ">I") -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        must(value <= most, "a number is out of bounds")
        return value

    def blob(self, most: int = MAX_BODY_BYTES) -> bytes:
        return bytes(self._take(self.number(most)))

    def text(self, most: int = MAX_TEXT_CHARS) -> str:
        try:
            return self.blob(4 * most).decode()
        except UnicodeDecodeError as error:
            raise PackError("a text is not UTF-8") from error

    def headers(self) -> Headers:
        count = self.number(MAX_HEADERS)
        return tuple((self.text(), self.text(MAX_VALUE_CHARS)) for _ in range(count))

    def exchange(self) -> Exchange:
        return Exchange(
            method=self.text(),
            url=self.text(MAX_URL_CHARS),
            request_headers=self.headers(),
            request_body=self.blob(),
            status=self.number(999),
            reason=self.text(),
            headers=self.headers(),
            body=self.blob(),
            error=self.text(),
            cut=self.text(),
        )

    def failure(self) -> Failure | None:
        kind, detail = self.text(), self.text()
        return Failure(kind, detail) if kind or detail else None

    def pack(self) -> Pack:
        return Pack(
            url=self.text(MAX_URL_CHARS),
            final_url=self.text(MAX_URL_CHARS),
            title=self.text(),
            date=self.number(MAX_DATE, ">Q"),
            software=self.text(),
            failure=self.failure(),
            cuts=tuple(Cut(self.text(), self.text()) for _ in range(self.number(MAX_CUTS))),
            exchanges=tuple(self.exchange() for _ in range(self.number(MAX_EXCHANGES))),
            picture=self.blob(),
            mhtml=self.blob(),
        )

    def end(self) -> None:
        must(self._at == len(self._data), "the pack goes on after its last field")


class PackReader:
    """Takes an answer in pieces of any size; holds no more than MAX_ANSWER_BYTES of it."""

    def __init__(self, padding: str) -> None:
        self._padding = padding
        self._ahead = warm_up(padding)
        self._answer = bytearray()
        self.content = 0
        """Bytes of the finished pack, decompressed."""

    @property
    def size(self) -> int:
        """Bytes that came so far after the warm-up."""
        return len(self._answer)

    @property
    def is_whole(self) -> bool:
        """Whether all is there that the header promises, padding included."""
        known = len(self._answer)
        return known >= HEADER.size and known >= padded_size(self._padding, self._end())

    @property
    def missing(self) -> int:
        """Bytes that the header still promises, padding included; or those of the header itself."""
        known = len(self._answer)
        whole = HEADER.size if known < HEADER.size else padded_size(self._padding, self._end())
        return self._ahead + whole - known

    def feed(self, data: bytes) -> None:
        """Raises PackError as soon as the bytes cannot become a pack any more."""
        if self._ahead:
            data = self._skip(data)
        known = len(self._answer)
        self._answer += data
        if known < HEADER.size <= len(self._answer):
            self._end()
        must(len(self._answer) <= MAX_ANSWER_BYTES, "the answer is larger than any pack")

    def _skip(self, data: bytes) -> bytes:
        """`data` without what of it is warm-up."""
        ahead, rest = data[: self._ahead], data[self._ahead :]
        must(not any(ahead), "the answer does not begin with its warm-up")
        self._ahead -= len(ahead)
        return rest

    def _end(self) -> int:
        """Where the frame ends, as the header says."""
        magic, length = HEADER.unpack_from(self._answer)
        must(magic == MAGIC, "the answer is no page pack")
        must(length <= MAX_ANSWER_BYTES - HEADER.size, "the answer is larger than any pack")
        return HEADER.size + int(length)

    def finish(self) -> Pack:
        """The pack, once the answer has ended. Raises PackError."""
        must(len(self._answer) >= HEADER.size, "the answer ended before it began")
        end = self._end()
        must(len(self._answer) >= end, "the answer ended too early")
        must(
            len(self._answer) == padded_size(self._padding, end),
            "the answer's size is not the one that its padding should give",
        )
        must(self._answer.count(0, end) == len(self._answer) - end, "the padding is not zeros")
        content = _decompress(bytes(memoryview(self._answer)[HEADER.size : end]))
        self.content = len(content)
        reader = _Reader(content)
        pack = reader.pack()
        reader.end()
        return pack


def decode(answer: bytes, padding: str) -> Pack:
    """The pack in a whole answer. Raises PackError."""
    reader = PackReader(padding)
    reader.feed(answer)
    return reader.finish()


def _decompress(frame: bytes) -> bytes:
    """One frame's content; the size it claims is checked before a byte of it is made."""
    try:
        claimed = zstandard.get_frame_parameters(frame).content_size
        must(claimed <= MAX_CONTENT_BYTES, "the pack's content is too large, or of unknown size")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise PackError("the pack cannot be decompressed") from error
