"""The server's half of SOCKS5 (RFC 1928) as a parser: bytes in, events out, no socket.

Invariant: any bytes give events or `SocksError`, and the same ones whole or byte by byte. Only
CONNECT is spoken. Who may use the listener is decided by the network namespace it was born in, so a
user name (RFC 1929) authenticates nobody: as with tor, it tells streams apart, and the password is
not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from bento.egress.addresses import IPAddress, canonical
from bento.egress.limits import MAX_REASON
from bento.egress.names import parse_name
from bento.errors import RemoteProtocolError

_VERSION = 5
_NO_AUTHENTICATION = 0
_USER_NAME = 2
_LOGIN_VERSION = 1
_VISIBLE = frozenset(range(0x21, 0x7F))
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4

REFUSE_METHODS = bytes((_VERSION, 0xFF))


class Reply(IntEnum):
    """RFC 1928 §6. Two codes are narrowed here so that the guest can tell the cases apart:
    HOST_UNREACHABLE is "the name does not resolve", NETWORK_UNREACHABLE is "no way there"."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TIMED_OUT = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8


class SocksError(RemoteProtocolError):
    """The client spoke something else; `reply` is what to send before closing (may be empty)."""

    def __init__(self, detail: str, reply: bytes = b"") -> None:
        super().__init__(detail)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Greeting:
    """The client offered a method that is spoken here; send `answer`. A name is taken if offered."""

    method: int = _NO_AUTHENTICATION

    @property
    def answer(self) -> bytes:
        return bytes((_VERSION, self.method))


@dataclass(frozen=True, slots=True)
class Login:
    """The client gave a user name; send `answer`."""

    user: str

    @property
    def answer(self) -> bytes:
        return bytes((_LOGIN_VERSION, 0))


@dataclass(frozen=True, slots=True)
class Request:
    """CONNECT to `name` or to `ip`; exactly one of them is not None. `user` is the name that the
    function gave to the stream, empty if none."""

    name: str | None
    ip: IPAddress | None
    port: int
    user: str = ""


Event = Greeting | Login | Request


def encode_reply(code: Reply, reason: str = "") -> bytes:
    """A reply, and after a failure one line that says why.

    Clients that know only RFC 1928 have stopped reading by then. The address bound is left empty
    on purpose: it would tell the function an address of the box."""
    head = bytes((_VERSION, code, 0, _IPV4)) + bytes(6)
    if not reason or code is Reply.SUCCEEDED:
        return head
    line = " ".join(reason.split()).encode()[: MAX_REASON - 1]
    return head + line.decode(errors="ignore").encode() + b"\n"


class SocksServer:
    """`receive` bytes, then take events until there is none. After the Request the rest of the
    bytes belong to the stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._expects: Callable[[], Event | None] = self._greeting
        self._user = ""
        self._finished = False

    @property
    def rest(self) -> bytes:
        """Bytes after the request: the first of the stream itself."""
        return bytes(self._buffer) if self._finished else b""

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_event(self) -> Event | None:
        """None: more bytes are needed, or the Request was given. Raises SocksError, for good."""
        return None if self._finished else self._expects()

    def _greeting(self) -> Greeting | None:
        buffer = self._buffer
        if buffer and buffer[0] != _VERSION:
            raise SocksError("the client does not speak SOCKS5")
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return None
        methods = bytes(buffer[2 : 2 + buffer[1]])
        del buffer[: 2 + len(methods)]
        if _USER_NAME in methods:
            self._expects = self._login
            return Greeting(_USER_NAME)
        if _NO_AUTHENTICATION in methods:
            self._expects = self._request
            return Greeting()
        raise SocksError("the client wants a way to log in that is not known here", REFUSE_METHODS)

    def _login(self) -> Login | None:
        """version, length, name, length, password"""
        buffer = self._buffer
        if buffer and buffer[0] != _LOGIN_VERSION:
            raise SocksError("the user name is not written as RFC 1929 has it")
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return None
        name, password = bytes(buffer[2 : 2 + buffer[1]]), buffer[2 + buffer[1]]
        end = 3 + len(name) + password
        if len(buffer) < end:
            return None
        if not _VISIBLE.issuperset(name):
            raise SocksError("a user name is visible ASCII characters", bytes((_LOGIN_VERSION, 1)))
        del buffer[:end]
        self._user = name.decode()
        self._expects = self._request
        return Login(self._user)

    def _request(self) -> Request | None:
        buffer = self._buffer
        _check_head(buffer)
        if len(buffer) < 5:
            return None
        kind = buffer[3]
        start, size = (5, buffer[4]) if kind == _NAME else (4, 4 if kind == _IPV4 else 16)
        end = start + size + 2
        if len(buffer) < end:
            return None
        host, port = bytes(buffer[start : end - 2]), int.from_bytes(buffer[end - 2 : end], "big")
        request = _named(host, port) if kind == _NAME else Request(None, _address(host), port)
        request = replace(request, user=self._user)
        del buffer[:end]
        self._finished = True
        return request


def _check_head(head: bytearray) -> None:
    """Judges as many of the four first bytes as there are."""
    if head and head[0] != _VERSION:
        raise SocksError("the request is not SOCKS5")
    if len(head) > 1 and head[1] != _CONNECT:
        reason = "functions reach the network by TCP connections only (SOCKS CONNECT)"
        raise SocksError(reason, encode_reply(Reply.COMMAND_NOT_SUPPORTED, reason))
    if len(head) > 2 and head[2] != 0:
        raise SocksError("the reserved byte of the request is not zero")
    if len(head) > 3 and head[3] not in (_IPV4, _NAME, _IPV6):
        reason = "the request has an unknown kind of address"
        raise SocksError(reason, encode_reply(Reply.ADDRESS_NOT_SUPPORTED, reason))


def _named(host: bytes, port: int) -> Request:
    """Some clients send a literal address as a name; it is judged as the address it is."""
    try:
        text = host.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    literal = _literal(text)
    if literal is not None:
        return Request(None, literal, port)
    name = parse_name(text)
    if name is None:
        reason = "the request has no valid host name"
        raise SocksError(reason, encode_reply(Reply.ADDRESS_NOT_SUPPORTED, reason))
    return Request(name, None, port)


def _literal(text: str) -> IPAddress | None:
    try:
        if ":" in text:
            bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
            address = IPv6Address(bare)
            return None if address.scope_id else canonical(address)
        return IPv4Address(text)
    except ValueError:
        return None


def _address(packed: bytes) -> IPAddress:
    return IPv4Address(packed) if len(packed) == 4 else canonical(IPv6Address(packed))
