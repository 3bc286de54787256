"""The page pack: every response a page was made of, and what came of the whole.

Every Pack keeps the rules that its classes state, or is not made (PackError): so one that came from
a box that nobody trusts is safe to print, to replay and to write into an archive. How a pack
travels is in packing.py. Pure, standard library only: the guest makes packs, the client reads them.
"""

import re
from dataclasses import dataclass, field

from .sizes import MIB

# Bounds of the format. The guest's own limits (limits.py) are below them, with reasons.
MAX_BODY_BYTES = 24 * MIB
MAX_EXCHANGES = 2048
MAX_CUTS = 64
MAX_HEADERS = 128
MAX_URL_CHARS = 64 * 1024
MAX_VALUE_CHARS = 64 * 1024
MAX_TEXT_CHARS = 1024
MAX_DATE = 253_402_300_799  # the last second of the year 9999

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


def must(holds: object, what: str) -> None:
    """Raises PackError(what) unless it holds."""
    if not holds:
        raise PackError(what)


def is_url(text: str) -> bool:
    """Whether this is an address that a pack may hold: http or https, printable ASCII, bounded."""
    return len(text) <= MAX_URL_CHARS and _URL.fullmatch(text) is not None


def is_method(text: str) -> bool:
    """Whether a pack may hold a request of this method; browsers send any token, of any length."""
    return _TOKEN.fullmatch(text) is not None


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
    must(len(headers) <= MAX_HEADERS, "too many headers")
    must(all(is_header(name, value) for name, value in headers), "a header is malformed")


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
        must(is_method(self.method), "a request's method is malformed")
        must(is_url(self.url), "a request's address is malformed")
        must(len(self.request_body) <= MAX_BODY_BYTES, "a request's body is too long")
        must(len(self.body) <= MAX_BODY_BYTES, "a response's body is too long")
        _check_headers(self.request_headers)
        _check_headers(self.headers)
        must(_is_plain(self.reason), "a status line is malformed")
        must(not self.cut or _WORD.fullmatch(self.cut), "a limit's name is malformed")
        if self.error:
            must(self.error in ERRORS, "an unknown kind of error")
            must(not (self.status or self.headers or self.body), "an error cannot have a response")
        else:
            must(100 <= self.status <= 999, "a status out of range")

    @property
    def outcome(self) -> tuple[object, ...]:
        """What was asked and what came: a request repeated with the same outcome is kept once."""
        return self.method, self.url, self.request_body, self.status, self.error, self.body


@dataclass(frozen=True, slots=True)
class Cut:
    """Something that was left out: the limit's name (limits.py), and what it stopped."""

    limit: str
    detail: str

    def __post_init__(self) -> None:
        must(_WORD.fullmatch(self.limit), "a limit's name is malformed")
        must(_is_plain(self.detail), "a cut's text is malformed")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no page, or not the one that was asked for: a kind, and one sentence."""

    kind: str
    detail: str

    def __post_init__(self) -> None:
        must(_WORD.fullmatch(self.kind), "a failure's kind is malformed")
        must(self.detail and _is_plain(self.detail), "a failure's text is malformed")


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
        must(is_url(self.url), "the page's address is malformed")
        must(not self.final_url or is_url(self.final_url), "the last address is malformed")
        must(_is_plain(self.title) and _is_plain(self.software), "a text is malformed")
        must(0 <= self.date <= MAX_DATE, "a date out of range")
        must(len(self.cuts) <= MAX_CUTS, "too many cuts")
        must(len(self.exchanges) <= MAX_EXCHANGES, "too many exchanges")
        must(max(len(self.picture), len(self.mhtml)) <= MAX_BODY_BYTES, "a part is too long")

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
