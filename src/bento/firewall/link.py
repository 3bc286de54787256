"""A raw, authenticated connection to the functions' tor: bytes both ways, no interpretation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bento.errors import TorError
from bento.tor.control_codec import Event, Reply, ReplyParser, encode_command, parse_arguments

_READ = 65536
_COOKIE_BYTES = 32  # control-spec §3.5


@dataclass(slots=True)
class Link:
    """`version` is tor's own, from its PROTOCOLINFO."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    version: str = ""

    async def close(self) -> None:
        """End the connection; the onion services made on it end too."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


async def open_link(address: str) -> Link:
    """Connect to `unix:/path` or `HOST:PORT` and log in with what tor offers: nothing or a cookie.

    The cookie goes over as it is, since the box started this tor itself and owns its socket.
    Raises TorError.
    """
    try:
        link = Link(*await _connect(address))
    except OSError as error:
        raise TorError(f"the functions' tor does not answer: {error.strerror or error}") from None
    try:
        await _login(link)
    except BaseException:
        await link.close()
        raise
    return link


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    path = address.removeprefix("unix:")
    if path != address:
        return await asyncio.open_unix_connection(path)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _login(link: Link) -> None:
    methods, cookie = frozenset[str](), ""
    for line in (await _ask(link, "PROTOCOLINFO 1")).lines:
        words, keywords = parse_arguments(line.text)
        if words[:1] == ("AUTH",):
            methods = frozenset(keywords.get("METHODS", "").split(","))
            cookie = keywords.get("COOKIEFILE", "")
        elif words[:1] == ("VERSION",):
            link.version = _plain(keywords.get("Tor", ""))
    secret = "" if "NULL" in methods else f" {_read_cookie(cookie)}"
    if not (await _ask(link, f"AUTHENTICATE{secret}")).is_ok:
        raise TorError("the functions' tor refuses the box's cookie")


def _plain(version: str) -> str:
    return "".join(char for char in version if char.isascii() and (char.isalnum() or char in ".-"))


def _read_cookie(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            cookie = file.read(_COOKIE_BYTES + 1)
    except (OSError, ValueError):
        raise TorError("the cookie of the functions' tor cannot be read") from None
    if len(cookie) != _COOKIE_BYTES:
        raise TorError("the cookie of the functions' tor is no cookie")
    return cookie.hex()


async def _ask(link: Link, line: str) -> Reply:
    """One command and its reply, while nothing else can come."""
    link.writer.write(encode_command(line))
    parser = ReplyParser()
    while data := await link.reader.read(_READ):
        messages: list[Reply | Event] = parser.feed(data)
        if len(messages) == 1 and isinstance(messages[0], Reply):
            return messages[0]
        if messages:
            raise TorError("the functions' tor spoke out of turn")
    raise TorError("the functions' tor closed the connection")
