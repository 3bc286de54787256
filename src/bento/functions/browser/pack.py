"""The page pack: every response a page was made of, compressed and padded to a public size.

    answer  = header frame padding    its length is exactly a member of the size set (sizes.py)
    header  = "bentopk1" length       16 bytes: a magic word, then the frame's length (u64)
    frame   = one zstd frame, with a checksum, that states the size of its content
    padding = zeros
    content = the fields of Pack, in order, each exchange in the order the page asked for it
              number: u32 (the date: u64) | text: u32 length, UTF-8 | blob: u32 length, bytes

Numbers are big endian. The box is not trusted: any bytes give a Pack or a PackError, fed whole or
byte by byte; nothing is decompressed before its size is known to be within bounds; and every Pack
keeps the rules that its classes state, so what comes out is safe to print, to replay and to write
into a WARC. Pure; the guest makes packs, the client reads them.
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import zstandard

from .sizes import MAX_ANSWER_BYTES, MIB, padded_size

MAGIC = b"bentopk1"
HEADER = struct.Struct(">8sQ")

# Bounds of the format. The guest's own limits (limits.py) are below them, with reasons.
MAX_CONTENT_BYTES = 80 * MIB  # bodies 32, MHTML 24, picture 8 MiB, the rest text
MAX_BODY_BYTES = 24 * MIB
MAX_EXCHANGES = 2048
MAX_CUTS = 64
MAX_HEADERS = 128
MAX_URL_CHARS = 64 * 1024
MAX_VALUE_CHARS = 64 * 1024
MAX_TEXT_CHARS = 1024
MAX_DATE = 253_402_300_799  # the last second of the year 9999

COMPRESSION_LEVEL = 9
"""On Debian's pages level 9 is within 1 % of level 12 at twice its speed (about 60 MB/s)."""

UNANSWERED = "Unanswered"
"""The `error` of a request that was still open, or was given up by the page, when it was packed."""

ERRORS = frozenset({
    UNANSWERED, "Failed", "Aborted", "TimedOut", "AccessDenied", "ConnectionClosed",
    "ConnectionReset", "ConnectionRefused", "ConnectionAborted", "ConnectionFailed",
    "NameNotResolved", "InternetDisconnected", "AddressUnreachable", "BlockedByClient",
    "BlockedByResponse",
})  # fmt: skip
"""How a request can fail: the DevTools protocol's Network.ErrorReason, and UNANSWERED."""

Headers = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_URL = re.compile(r"https?://[!-~]+")
_VALUE = re.compile(r"[^\x00\r\n\ud800-\udfff]*")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]*")
_WORD = re.compile(r"[a-z_]{1,32}")


class PackError(ValueError):
    """These bytes are no page pack; or these fields cannot be in one."""


def _must(holds: object, what: str) -> None:
    if not holds:
        raise PackError(what)


def is_url(text: str) -> bool:
    """Whether this is an address that a pack may hold: http or https, printable ASCII, bounded."""
    return len(text) <= MAX_URL_CHARS and _URL.fullmatch(text) is not None


def is_header(name: str, value: str) -> bool:
    """Whether this is a header that cannot break out of its line."""
    return (
        len(value) <= MAX_VALUE_CHARS
        and _TOKEN.fullmatch(name) is not None
        and _VALUE.fullmatch(value) is not None
    )


def plain(text: str) -> str:
    """`text` without what could not be printed safely, cut to the bound of a pack's texts."""
    kept = (c if _PLAIN.fullmatch(c) else " " for c in text[:MAX_TEXT_CHARS])
    return "".join(kept).strip()


def _is_plain(text: str) -> bool:
    return len(text) <= MAX_TEXT_CHARS and _PLAIN.fullmatch(text) is not None


def _check_headers(headers: Headers) -> None:
    _must(len(headers) <= MAX_HEADERS, "too many headers")
    _must(all(is_header(name, value) for name, value in headers), "a header is malformed")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of the page and what came of it: a status and a body, or an error.

    `body` is what the page was given: content codings undone, and no more of it than the limit
    named by `cut` allows. `headers` are the server's own.
    """

    method: str
    url: str
    request_headers: Headers = ()
    request_body: bytes = b""
    status: int = 0
    reason: str = ""
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    error: str = ""
    cut: str = ""

    def __post_init__(self) -> None:
        _must(_TOKEN.fullmatch(self.method), "a request's method is malformed")
        _must(is_url(self.url), "a request's address is malformed")
        _must(len(self.request_body) <= MAX_BODY_BYTES, "a request's body is too long")
        _must(len(self.body) <= MAX_BODY_BYTES, "a response's body is too long")
        _check_headers(self.request_headers)
        _check_headers(self.headers)
        _must(_is_plain(self.reason), "a status line is malformed")
        _must(not self.cut or _WORD.fullmatch(self.cut), "a limit's name is malformed")
        if self.error:
            _must(self.error in ERRORS, "an unknown kind of error")
            _must(not (self.status or self.headers or self.body), "an error cannot have a response")
        else:
            _must(100 <= self.status <= 999, "a status out of range")


@dataclass(frozen=True, slots=True)
class Cut:
    """Something that was left out: the limit's name (limits.py), and what it stopped."""

    limit: str
    detail: str

    def __post_init__(self) -> None:
        _must(_WORD.fullmatch(self.limit), "a limit's name is malformed")
        _must(_is_plain(self.detail), "a cut's text is malformed")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no page, or not the one that was asked for: a kind, and one sentence."""

    kind: str
    detail: str

    def __post_init__(self) -> None:
        _must(_WORD.fullmatch(self.kind), "a failure's kind is malformed")
        _must(self.detail and _is_plain(self.detail), "a failure's text is malformed")


@dataclass(frozen=True, slots=True)
class Pack:
    """A page as a box saw it at `date` (seconds since 1970)."""

    url: str
    final_url: str = ""
    title: str = ""
    date: int = 0
    software: str = ""
    failure: Failure | None = None
    cuts: tuple[Cut, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    picture: bytes = field(default=b"", repr=False)
    mhtml: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        _must(is_url(self.url), "the page's address is malformed")
        _must(not self.final_url or is_url(self.final_url), "the last address is malformed")
        _must(_is_plain(self.title) and _is_plain(self.software), "a text is malformed")
        _must(0 <= self.date <= MAX_DATE, "a date out of range")
        _must(len(self.cuts) <= MAX_CUTS, "too many cuts")
        _must(len(self.exchanges) <= MAX_EXCHANGES, "too many exchanges")
        _must(max(len(self.picture), len(self.mhtml)) <= MAX_BODY_BYTES, "a part is too long")

    @property
    def status(self) -> int:
        """The HTTP status of the page itself; 0 when there is none."""
        page = self.final_url.partition("#")[0]
        found = [e.status for e in self.exchanges if e.url == page and e.status]
        return found[-1] if found else 0

    @property
    def weight(self) -> int:
        """Bytes of all bodies, content codings undone."""
        return sum(len(exchange.body) for exchange in self.exchanges)


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
    """The whole answer, in pieces; their lengths add up to a member of the set `padding`.

    Raises PackError if the content is larger than the format allows.
    """
    writer = _Writer()
    writer.pack(pack)
    size = sum(map(len, writer.pieces))
    _must(size <= MAX_CONTENT_BYTES, "the page is too large to be packed")
    frame = _compress(writer.pieces, size)
    length = sum(map(len, frame))
    used = HEADER.size + length
    return [HEADER.pack(MAGIC, length), *frame, *_zeros(padded_size(padding, used) - used)]


def _compress(pieces: Iterable[bytes], size: int) -> list[bytes]:
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    stream = compressor.compressobj(size=size)
    frame = [stream.compress(piece) for piece in pieces]
    frame.append(stream.flush())
    return [piece for piece in frame if piece]


def _zeros(count: int) -> list[bytes]:
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
        _must(len(taken) == count, "the pack ends in the middle of a field")
        self._at += count
        return taken

    def number(self, most: int, form: str = ">I") -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        _must(value <= most, "a number is out of bounds")
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
        _must(self._at == len(self._data), "the pack goes on after its last field")


class PackReader:
    """Takes an answer in pieces of any size; holds no more than MAX_ANSWER_BYTES of it."""

    def __init__(self, padding: str) -> None:
        self._padding = padding
        self._answer = bytearray()

    def feed(self, data: bytes) -> None:
        """Raises PackError as soon as the bytes cannot become a pack any more."""
        known = len(self._answer)
        self._answer += data
        if known < HEADER.size <= len(self._answer):
            self._frame_length()
        _must(len(self._answer) <= MAX_ANSWER_BYTES, "the answer is larger than any pack")

    def _frame_length(self) -> int:
        magic, length = HEADER.unpack_from(self._answer)
        _must(magic == MAGIC, "the answer is no page pack")
        _must(length <= MAX_ANSWER_BYTES - HEADER.size, "the answer is larger than any pack")
        return int(length)

    def finish(self) -> Pack:
        """The pack, once the answer has ended. Raises PackError."""
        _must(len(self._answer) >= HEADER.size, "the answer ended before it began")
        end = HEADER.size + self._frame_length()
        _must(len(self._answer) >= end, "the answer ended too early")
        _must(
            len(self._answer) == padded_size(self._padding, end),
            "the answer's size is not the one that its padding should give",
        )
        _must(self._answer.count(0, end) == len(self._answer) - end, "the padding is not zeros")
        reader = _Reader(_decompress(bytes(memoryview(self._answer)[HEADER.size : end])))
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
        _must(claimed <= MAX_CONTENT_BYTES, "the pack's content is too large, or of unknown size")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise PackError("the pack cannot be decompressed") from error
