"""A SOCKS5 client (RFC 1928, RFC 1929) that does not wait for the network where it need not.

Invariant: once the proxy has taken the greeting, the request and the first bytes of the stream
after it leave in one write. Tor sends such early bytes right behind the BEGIN cell ("optimistic
data"), so the far end has them one round trip sooner than if the client waited for the reply.

The greeting goes alone: tor loses its answer to it if the user name comes in the same read.
The proxy is a tor of our own, but what it answers is still parsed strictly.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping

from bento.errors import TorError, UsageError
from bento.tor.addresses import parse_endpoint

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

# What a reader buffers before it stops the sender: several cells' worth of a fast circuit.
BUFFER = 256 * 1024
# RFC 1929: one byte holds each length. Tor holds an empty password for a mistake in some versions.
_FIELD_LIMIT = 255
_NO_PASSWORD = "-"  # noqa: S105

_VERSION, _CONNECT, _SUCCEEDED = 5, 1, 0
_IPV4, _NAME, _IPV6 = 1, 3, 4
_BOUND_ADDRESS_LENGTH = {_IPV4: 4, _IPV6: 16}
_NO_AUTH, _USER_PASSWORD = 0, 2

# RFC 1928 section 6, and tor's own codes (socks-extensions.txt, ExtendedErrors).
_FAILURES: Mapping[int, tuple[str, str]] = {
    1: ("tor could not open the stream", ""),
    2: ("the last relay's policy does not allow this address", ""),
    3: ("the network cannot be reached from the last relay", ""),
    4: ("the host cannot be found or reached", ""),
    5: ("the host refused the connection", "check that something listens there"),
    6: ("the stream took too long", "try again"),
    7: ("the proxy does not know this command", "check that it is tor's SocksPort"),
    8: ("the proxy does not know this kind of address", "check that it is tor's SocksPort"),
    0xF0: ("the onion service was not found", "it may be down, or the address mistyped"),
    0xF1: ("the onion service's descriptor is broken", ""),
    0xF2: ("the onion service could not be reached: no introduction", "try again"),
    0xF3: ("the onion service could not be reached: no rendezvous", "try again"),
    0xF4: ("the onion service asks for a client key", "get one from its owner"),
    0xF5: ("the onion service does not accept this client key", ""),
    0xF6: ("that is no onion address", "it has 56 letters and digits before .onion"),
    0xF7: ("the onion service did not answer the introduction in time", "try again"),
}


async def open_stream(
    proxy: str,
    host: str,
    port: int,
    *,
    username: str = "",
    password: str = "",
    early: bytes = b"",
) -> Stream:
    """A stream to `host:port` through the SOCKS5 `proxy` (`HOST:PORT` or `unix:/path`).

    `username` and `password` only tell streams apart: tor gives different ones different circuits.
    `early` is sent together with the request. Raises TorError if the proxy is not there, refuses
    or breaks the protocol; UsageError if the request cannot be written down.
    """
    method = _USER_PASSWORD if username else _NO_AUTH
    request = encode_request(host, port, username, password)
    reader, writer = await _connect(proxy)
    try:
        writer.write(bytes((_VERSION, 1, method)))
        await read_method(reader, method)
        writer.write(request + early)
        await read_reply(reader, with_password=bool(username))
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def encode_request(host: str, port: int, username: str = "", password: str = "") -> bytes:
    """User and CONNECT in one piece. UsageError for what SOCKS5 cannot hold."""
    if not 0 < port < 65536:
        raise UsageError(f"{port} is no port")
    target = bytes((_VERSION, _CONNECT, 0)) + _encode_host(host) + port.to_bytes(2, "big")
    if not username:
        return target
    return b"\x01" + _field(username) + _field(password or _NO_PASSWORD) + target


async def read_method(reader: asyncio.StreamReader, method: int) -> None:
    """Read the answer to the greeting. TorError unless it takes `method`."""
    if await _read(reader, 2) != bytes((_VERSION, method)):
        raise _not_socks()


async def read_reply(reader: asyncio.StreamReader, *, with_password: bool) -> None:
    """Read the answers to user and request, and nothing after them. TorError unless it is a yes."""
    if with_password and await _read(reader, 2) != b"\x01\x00":
        raise TorError("the SOCKS proxy refused the user name")
    version, code, reserved, kind = await _read(reader, 4)
    if version != _VERSION or reserved != 0:
        raise _not_socks()
    if code != _SUCCEEDED:
        raise TorError(*_FAILURES.get(code, (f"the SOCKS proxy failed with code {code}", "")))
    await _read(reader, await _bound_address_length(reader, kind) + 2)


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise TorError("the SOCKS proxy closed the connection before it answered") from None
    except OSError as error:
        raise TorError(f"the SOCKS proxy broke the connection: {error.strerror}") from None


async def _bound_address_length(reader: asyncio.StreamReader, kind: int) -> int:
    if kind == _NAME:
        return (await _read(reader, 1))[0]
    if kind not in _BOUND_ADDRESS_LENGTH:
        raise _not_socks()
    return _BOUND_ADDRESS_LENGTH[kind]


async def _connect(proxy: str) -> Stream:
    path_or_host, port = parse_endpoint(proxy)
    try:
        if port is None:
            return await asyncio.open_unix_connection(path_or_host, limit=BUFFER)
        return await asyncio.open_connection(path_or_host, port, limit=BUFFER)
    except OSError as error:
        raise TorError(
            f"cannot reach tor's SOCKS port at {proxy}: {error.strerror or error}",
            "check that this tor is running",
        ) from None


def _encode_host(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bytes((_NAME,)) + _field(host)
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


def _field(text: str) -> bytes:
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise UsageError("a SOCKS request holds ASCII only", "write the name in punycode") from None
    if not 0 < len(raw) <= _FIELD_LIMIT or b"\0" in raw:
        raise UsageError(f"a name in a SOCKS request has 1 to {_FIELD_LIMIT} characters")
    return bytes((len(raw),)) + raw


def _not_socks() -> TorError:
    return TorError("the proxy does not speak SOCKS5", "check that it is tor's SocksPort")
