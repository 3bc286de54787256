"""What a service shows: files that were shipped, or an origin that is asked. Pure.

A folder travels as one byte string, `u16 path | u32 content` for each file, sorted by path: the same
bytes on every machine. It is read strictly, for a replica must trust nobody's paths: they are names in
a table and never touch a disk.
"""

from __future__ import annotations

import ipaddress
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bento.errors import RemoteProtocolError, UsageError
from bento.functions.balancer.messages import MAX_CONTENT
from bento.onion.wire import Reader, vector

FILES, ORIGIN = 1, 2
"""Kinds of content, as in `messages.Serve`."""

INDEX = "index.html"
MAX_FILES = 10_000
MAX_PATH = 1024  # bytes
_HOST = re.compile(r"(?i)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Files:
    """Paths without a leading slash -> contents."""

    table: Mapping[str, bytes]

    def find(self, target: str) -> tuple[str, bytes] | None:
        """The file that the target of a request names: (media type, content)."""
        path = unquote(target.partition("?")[0]).lstrip("/")
        for name in (path, f"{path.rstrip('/')}/{INDEX}".lstrip("/")):
            if (content := self.table.get(name)) is not None:
                return mimetypes.guess_type(name)[0] or "application/octet-stream", content
        return None


@dataclass(frozen=True)
class Origin:
    """A server that each stream is connected to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Site = Files | Origin


def pack_folder(folder: Path) -> bytes:
    """All files of a folder. Raises UsageError when it cannot be read, is empty or is too large."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", "name one whose files the service should show")
    parts, size, count = [], 0, 0
    try:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            size += path.stat().st_size
            if size > MAX_CONTENT or (count := count + 1) > MAX_FILES:
                raise UsageError(
                    f"{folder} is too large: more than {MAX_CONTENT >> 20} MiB or {MAX_FILES} files",
                    "every replica holds all of it; serve what is large with --to",
                )
            name = path.relative_to(folder).as_posix().encode()
            parts.append(vector(name, 2) + vector(path.read_bytes(), 4))
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}") from None
    packed = b"".join(parts)
    if not parts or len(packed) > MAX_CONTENT:
        raise UsageError(
            f"{folder} is empty, or too large with its names",
            "put files there, an index.html first",
        )
    return packed


def parse_origin(text: str) -> Origin:
    """HOST:PORT, [IPV6]:PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_host(bare) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is no HOST:PORT", "as in example.com:80")
    return Origin(bare, int(port))


def parse(kind: int, content: bytes) -> Site:
    """A site from what came in. RemoteProtocolError for anything not exactly in the form."""
    if kind == FILES:
        return Files(_table(content))
    if kind == ORIGIN:
        try:
            return parse_origin(content.decode())
        except (UnicodeDecodeError, UsageError):
            pass
    raise RemoteProtocolError("the content of the service is of no known kind")


def _table(content: bytes) -> dict[str, bytes]:
    reader = Reader(content, "the files of the service")
    table: dict[str, bytes] = {}
    while reader.left:
        name = reader.vector(2)
        if len(name) > MAX_PATH or len(table) >= MAX_FILES:
            raise RemoteProtocolError("the files of the service are too many, or have long names")
        table[name.decode(errors="replace")] = reader.vector(4)
    return table


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) < 254 and _HOST.fullmatch(text) is not None
    return True
