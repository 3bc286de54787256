"""Tor's control protocol as bytes and values: no socket, no clock.

Invariant: any bytes fed to `ReplyParser` either become `Reply` and `Event` values or raise
`TorError`; feeding them whole or byte by byte gives the same. Memory is bounded by the limits
below, whatever tor sends. What leaves through `encode_command` is always exactly one command.

Grammar: control-spec sections 2.1 to 2.3 and 4.1. Three habits of the real tor matter:
the lines of one reply may carry different statuses (MAPADDRESS), an event's text may be free
(log lines), and the text inside a data block may hold a bare CR that some relay put there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bento.errors import TorError, UsageError

# The longest single-line answers are GETINFO values and log events: kilobytes.
MAX_LINE = 256 * 1024
# `GETINFO desc/all-recent` on the live network: about 10,000 descriptors of 3 KB each.
MAX_MESSAGE = 64 * 1024 * 1024
# Lines of one reply; a GETINFO of many keys has one each.
MAX_LINES = 10_000
# One command with its data; the largest is an onion service descriptor (50 KB).
MAX_COMMAND = 1024 * 1024

_STATUS = re.compile(rb"[2456][0-9][0-9]")
_KEYWORD = re.compile(r"[A-Z][A-Z0-9_]*")
_END_OF_DATA = b"\r\n.\r\n"
_ASYNC = 600
# Events whose whole text is for people, and so follows no grammar.
_FREE_TEXT = frozenset({"DEBUG", "INFO", "NOTICE", "WARN", "ERR"})

_ARGUMENT = re.compile(
    r"(?:(?P<key>[A-Za-z0-9_]+)=)?"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^ "]*))'
    r"(?: +|$)"
)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_NAMED_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_QUOTING = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a reply; `data` is the block that follows a `NNN+` line, with LF line ends."""

    status: int
    text: str
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one command. `status` is that of its last line."""

    status: int
    lines: tuple[Line, ...]

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The last line's text: `OK`, or what went wrong."""
        return self.lines[-1].text


@dataclass(frozen=True, slots=True)
class Event:
    """Something tor tells unasked: `650 KEYWORD positional... KEY=value...`.

    `data` is the block after a `650+` line; `more` holds further lines (CONF_CHANGED) but not
    the closing `650 OK`. A log event has its whole message as the one positional argument.
    """

    keyword: str
    positional: tuple[str, ...]
    keywords: dict[str, str]
    data: str | None = None
    more: tuple[Line, ...] = ()


class ReplyParser:
    """Bytes from a control port -> replies and events, in order.

    After an error the parser stays dead: what follows a broken line cannot be trusted.
    """

    def __init__(self, max_line: int = MAX_LINE, max_message: int = MAX_MESSAGE) -> None:
        self._max_line = max_line
        self._max_message = max_message
        self._buffer = bytearray()
        self._scanned = 0
        self._lines: list[Line] = []
        self._size = 0
        self._awaits_data: Line | None = None
        self._failure: TorError | None = None

    def feed(self, data: bytes) -> list[Reply | Event]:
        """Everything that `data` completes. Raises TorError, now and ever after, if it is wrong."""
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        try:
            return list(self._messages())
        except TorError as error:
            self._failure = error
            self._buffer.clear()
            self._lines.clear()
            raise

    def _messages(self) -> Iterator[Reply | Event]:
        while True:
            if self._awaits_data is None:
                raw = self._take_line()
                if raw is None:
                    return
                line, more = self._parse_line(raw)
            else:
                data = self._take_data()
                if data is None:
                    return
                line = Line(self._awaits_data.status, self._awaits_data.text, data)
                self._awaits_data, more = None, True
            if self._awaits_data is None:
                self._add(line)
                if not more:
                    yield self._finish()

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            # One more than the limit may still be the CR of a line that is just short enough.
            if self._scanned > self._max_line + 1:
                raise _broken(f"a line longer than {self._max_line} bytes")
            return None
        if end == 0 or self._buffer[end - 1] != ord("\r"):
            raise _broken("a line that does not end with CR LF")
        if end - 1 > self._max_line:
            raise _broken(f"a line longer than {self._max_line} bytes")
        line = bytes(self._buffer[: end - 1])
        # The line end of a `+` line stays: every line of data, the first too, then follows a CRLF.
        del self._buffer[: end - 1 if line[3:4] == b"+" else end + 1]
        self._scanned = 0
        return line

    def _parse_line(self, raw: bytes) -> tuple[Line, bool]:
        """The line, and whether its message goes on after it."""
        status, separator, text = raw[:3], raw[3:4], raw[4:]
        if not _STATUS.fullmatch(status) or separator not in (b" ", b"-", b"+"):
            raise _broken("a line that is no reply")
        if b"\r" in text or b"\0" in text:
            raise _broken("a line with a control character")
        line = Line(int(status), _decode(text))
        if separator == b"+":
            self._awaits_data = line
        return line, separator != b" "

    def _take_data(self) -> str | None:
        room = self._max_message - self._size
        end = self._buffer.find(_END_OF_DATA, self._scanned)
        if end < 0:
            self._scanned = max(0, len(self._buffer) - len(_END_OF_DATA) + 1)
        if (self._scanned if end < 0 else end) > room:
            raise _broken(f"an answer larger than {self._max_message} bytes")
        if end < 0:
            return None
        block = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END_OF_DATA)]
        self._scanned = 0
        if block.count(b"\n") != block.count(b"\r\n"):
            raise _broken("a data block with a bare line feed")
        unstuffed = block.replace(b"\r\n.", b"\r\n")
        return _decode(unstuffed.replace(b"\r\n", b"\n")[1:])

    def _add(self, line: Line) -> None:
        if self._lines and (self._lines[0].status >= _ASYNC) != (line.status >= _ASYNC):
            raise _broken("an event inside a reply")
        self._size += len(line.text) + len(line.data or "")
        self._lines.append(line)
        if self._size > self._max_message or len(self._lines) > MAX_LINES:
            raise _broken("an answer larger than its limit")

    def _finish(self) -> Reply | Event:
        lines, self._lines, self._size = tuple(self._lines), [], 0
        if lines[0].status >= _ASYNC:
            return _event(lines)
        return Reply(lines[-1].status, lines)


def _event(lines: tuple[Line, ...]) -> Event:
    keyword, _, rest = lines[0].text.partition(" ")
    if not _KEYWORD.fullmatch(keyword):
        raise _broken("an event without a name")
    more = lines[1:]
    if more and more[-1].text == "OK":
        more = more[:-1]
    if keyword in _FREE_TEXT:
        return Event(keyword, (rest,), {}, lines[0].data, more)
    positional, keywords = parse_arguments(rest)
    return Event(keyword, positional, keywords, lines[0].data, more)


def parse_arguments(text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """`a "b c" KEY=d` -> (("a", "b c"), {"KEY": "d"}); TorError if it is not of that form."""
    positional: list[str] = []
    keywords: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _ARGUMENT.match(text, position)
        if match is None or match.end() == position:
            raise _broken("arguments that cannot be read")
        position = match.end()
        key, quoted, bare = match.group("key", "quoted", "bare")
        value = bare if quoted is None else _unescape(quoted)
        if key is None:
            if value or quoted is not None:
                positional.append(value)
        elif key in keywords:
            raise _broken(f"the argument {key} twice")
        else:
            keywords[key] = value
    return tuple(positional), keywords


def quote(text: str) -> str:
    """`text` as a QuotedString (control-spec 2.1.1); UsageError for what tor cannot hold: NUL."""
    if "\0" in text:
        raise UsageError("a value for tor holds a NUL character")
    return '"' + "".join(_QUOTING.get(char) or _quote_control(char) for char in text) + '"'


def unquote(text: str) -> str:
    """The inverse of `quote`; raises TorError for anything that is not one QuotedString."""
    match = _ARGUMENT.fullmatch(text)
    if match is None or match["key"] is not None or match["quoted"] is None or text[-1] != '"':
        raise _broken("a string without its quotes")
    return _unescape(match["quoted"])


def encode_command(line: str, data: str | None = None) -> bytes:
    """One command as bytes; with `data` (LF or CRLF line ends) it is sent in the `+` form.

    Raises UsageError for a line break or NUL in `line`: that would be a second command.
    """
    if not line or any(char in line for char in "\r\n\0"):
        raise UsageError("a tor command must be one line")
    encoded = _encode(line) + b"\r\n"
    if data is not None:
        body = b"\r\n" + _encode(data).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        stuffed = body.replace(b"\r\n.", b"\r\n..").removeprefix(b"\r\n").removesuffix(b"\r\n")
        encoded = b"+" + encoded + stuffed + (_END_OF_DATA if stuffed else b".\r\n")
    if len(encoded) > MAX_COMMAND:
        raise UsageError(f"a tor command is larger than {MAX_COMMAND} bytes")
    return encoded


def _quote_control(char: str) -> str:
    return f"\\{ord(char):03o}" if ord(char) < 0x20 or ord(char) == 0x7F else char


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    # Octal escapes are bytes, of which several may make one character: undo them as bytes.
    unescaped = _ESCAPE.sub(_unescape_one, text).encode("utf-8", "surrogateescape")
    return _decode(unescaped)


def _unescape_one(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] not in "01234567":
        return _NAMED_ESCAPES.get(code, code)
    value = int(code, 8)
    if value > 0xFF:
        raise _broken("an octal escape that is no byte")
    return bytes((value,)).decode("utf-8", "surrogateescape")


def _decode(raw: bytes) -> str:
    # Lossless for any bytes: relays write their own names and contacts as they like.
    return raw.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("a value for tor is no valid text") from None


def _broken(what: str) -> TorError:
    return TorError(
        f"tor's control port sent {what}",
        "check that this address is tor's control port and no other service",
    )
