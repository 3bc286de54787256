"""Where a port of tor is: `HOST:PORT` or `unix:/path`, written alike for control and SOCKS."""

from __future__ import annotations

from bento.errors import UsageError


def parse_endpoint(text: str) -> tuple[str, int | None]:
    """`unix:/path` -> (path, None); `HOST:PORT` and `[v6]:PORT` -> (host, port); or UsageError."""
    path = text.removeprefix("unix:")
    if path != text and path.startswith("/"):
        return path, None
    host, separator, port = text.rpartition(":")
    valid = separator and host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536
    if not valid:
        raise UsageError(f"{text!r} is no address of a port", "write unix:/path or HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
