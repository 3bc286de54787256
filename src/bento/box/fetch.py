"""One GET, directly or through a tor's SOCKS port: bounded in size and time, no redirects.

HTTP/1.0, so that an answer is its head and what follows up to the end of the connection. It is for
statements that are signed: transport security is used where the URL says so and nothing rests on it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bento.conclave.pccs import Answer
from bento.errors import HostError, TorError
from bento.tor.socks import open_stream

if TYPE_CHECKING:
    from bento.tor.socks import Stream

_HEAD = 64 * 1024  # bytes; two certificates stand in it
_BODY = 256 * 1024  # as much as all evidence may have
_PATIENCE = 60  # seconds in all, tor's circuit included
_USER = "collateral"  # keeps it off the circuits of functions


_FAILURES = (
    *(OSError, TimeoutError, TorError, ValueError),
    *(asyncio.IncompleteReadError, asyncio.LimitOverrunError),
)


async def get(url: str, socks: str = "") -> Answer:
    """The answer to a GET of `url`, through the SOCKS port `socks` (an endpoint) if there is one.

    Raises HostError."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _get(url, socks)
    except _FAILURES as error:
        raise HostError(
            f"{urlsplit(url).hostname} gave no answer: {type(error).__name__}"
        ) from error


async def _get(url: str, socks: str) -> Answer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    reader, writer = await _connect(
        host, parts.port or (443 if parts.scheme == "https" else 80), socks
    )
    try:
        if parts.scheme == "https":
            await writer.start_tls(ssl.create_default_context(), server_hostname=host)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode("ascii"))
        await writer.drain()
        headers = _head(await reader.readuntil(b"\r\n\r\n"))
        return Answer(await _body(reader, headers), headers)
    finally:
        writer.close()


async def _connect(host: str, port: int, socks: str) -> Stream:
    if socks:
        return await open_stream(socks, host, port, username=_USER)
    return await asyncio.open_connection(host, port, limit=_HEAD)


def _head(raw: bytes) -> dict[str, str]:
    status, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, code, *_ = status.split(" ")
    if not version.startswith("HTTP/1.") or code != "200":
        raise ValueError("not found")
    headers = dict(line.split(":", 1) for line in lines)
    return {name.strip().lower(): value.strip() for name, value in headers.items()}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        raise ValueError("a form that HTTP/1.0 does not have")
    body = bytearray()
    while piece := await reader.read(_BODY):
        body += piece
        if len(body) > _BODY:
            raise ValueError("too long")
    if len(body) != int(headers.get("content-length", len(body))):
        raise ValueError("cut short")
    return bytes(body)
