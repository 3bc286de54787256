"""Just enough of HTTP/1.1 to show files: GET and HEAD, one range, connections that are kept. Pure.

Says nothing of the machine: no server name, no date, no time of a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bento.functions.balancer.site import Files

MAX_HEAD = 16 * 1024
END = b"\r\n\r\n"
_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
_REASONS = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
}


@dataclass(frozen=True)
class Answer:
    """`keep`: whether another request may follow on the connection."""

    head: bytes
    body: memoryview
    keep: bool


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    fields: dict[str, str]
    keep: bool


def answer(head: bytes, files: Files) -> Answer:
    """To a request's head, the empty line left out. Whatever it is, there is an answer."""
    request = _parse(head)
    if request is None:
        return _failure(400)
    if request.method not in ("GET", "HEAD"):
        return _failure(405)
    found = files.find(request.target)
    if found is None:
        return _failure(404, keep=request.keep, bare=request.method == "HEAD")
    kind, content = found
    status, first, last = _range(request.fields.get("range", ""), len(content))
    if status == 416:
        return _failure(416, keep=request.keep, extra=f"Content-Range: bytes */{len(content)}\r\n")
    extra = f"Content-Type: {kind}\r\nAccept-Ranges: bytes\r\n"
    if status == 206:
        extra += f"Content-Range: bytes {first}-{last}/{len(content)}\r\n"
    body = memoryview(content)[first : last + 1]
    lines = _head(status, len(body), request.keep, extra)
    return Answer(lines, body[:0] if request.method == "HEAD" else body, request.keep)


def too_long() -> Answer:
    """For a head that does not end."""
    return _failure(431)


def _parse(head: bytes) -> _Request | None:
    first, *lines = head.split(b"\r\n")
    line = _REQUEST.fullmatch(first)
    if line is None:
        return None
    fields: dict[str, str] = {}
    for field in map(_FIELD.fullmatch, lines):
        if field is None:
            return None
        fields[field[1].decode().lower()] = field[2].decode("latin-1")
    if fields.get("content-length", "0") != "0" or "transfer-encoding" in fields:
        return None  # a body would be taken for the next request
    wish = fields.get("connection", "").lower()
    keep = "close" not in wish and (line[3] == b"1" or "keep-alive" in wish)
    return _Request(line[1].decode(), line[2].decode(), fields, keep)


def _range(text: str, size: int) -> tuple[int, int, int]:
    """(status, first byte, last byte) of a Range field; what is no single range counts as none."""
    match = _RANGE.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        return 200, 0, size - 1
    if not match[1]:
        first, last = max(0, size - int(match[2])), size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
        if match[2] and int(match[2]) < first:
            return 200, 0, size - 1
    return (206, first, last) if first <= last else (416, 0, -1)


def _head(status: int, length: int, keep: bool, extra: str = "") -> bytes:
    end = "keep-alive" if keep else "close"
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: {length}\r\n"
        f"{extra}Connection: {end}\r\n\r\n"
    ).encode()


def _failure(status: int, *, keep: bool = False, bare: bool = False, extra: str = "") -> Answer:
    text = f"{status} {_REASONS[status]}\n".encode()
    head = _head(status, len(text), keep, f"Content-Type: text/plain\r\n{extra}")
    return Answer(head, memoryview(b"" if bare else text), keep)
