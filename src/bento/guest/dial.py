"""Connecting from inside a sandbox: directly to itself, through the box's proxy to all else.

What is local: 127.0.0.1, ::1, localhost, this host's own name. Every other address is asked of the
proxy, other loopback addresses too. A refusal becomes PermissionError with the proxy's reason.

Loaded when user code first imports `socket`; imports only what `socket` has imported already.
"""

import _socket
import errno
from time import monotonic

from bento.guest import network
from bento.guest.names import LOCAL, find_literal, host_text, is_local_name, stand_ins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

_PROXY_HOST = "127.0.0.1"
GREETING = b"\x05\x01\x00"

# The answer to greeting and request together: 2 bytes, then 10 (the proxy binds an IPv4 address).
_ANSWER = 12

# The proxy's explanation after a failure is shorter than this (egress.limits.MAX_REASON).
_REASON = 512

# Seconds that `connect` on a non-blocking socket may take outside asyncio: as long as the proxy.
_PATIENCE = 60.0

_UDP_REFUSED = "functions reach the network by TCP only"

# Local port of a connection to the proxy -> the address that was asked for. Ports are few, so the
# table is; keyed like this it survives what happens to sockets (dup, detach, ssl.wrap_socket).
_peers: "dict[int, tuple[Any, ...]]" = {}


def patch(module: "Any") -> None:
    """Of the module `socket`: its class `socket`."""
    network.replace(
        module.socket,
        {
            "connect": _connect,
            "connect_ex": _connect_ex,
            "getpeername": _getpeername,
            "bind": _bind,
            "sendto": _sendto,
            "sendmsg": _sendmsg,
        },
    )


class Way:
    """`address` is what the kernel is to connect to; through the proxy there is also the SOCKS
    `request`, and `peer` is what getpeername then reports."""

    __slots__ = ("address", "peer", "request")

    def __init__(self, address: "Any", request: bytes = b"", peer: "tuple[Any, ...]" = ()) -> None:
        self.address = address
        self.request = request
        self.peer = peer


def find_way(sock: "_socket.socket", address: "Any") -> Way:
    """Decide for a socket and the address given to connect, bind or sendto.

    Raises PermissionError for datagrams to anywhere but this sandbox."""
    family = sock.family
    if (
        family not in (_socket.AF_INET, _socket.AF_INET6)
        or not isinstance(address, tuple)
        or len(address) < 2
        or not isinstance(address[0], (str, bytes, bytearray))
        or not isinstance(address[1], int)
    ):
        return Way(address)  # Unix sockets; and what the C code will complain about itself.
    host, port = host_text(address[0]), address[1]
    if not host or host == "<broadcast>":
        return Way(address)
    if is_local_name(host):
        return Way(("127.0.0.1" if family == _socket.AF_INET else "::1", *address[1:]))
    literal = find_literal(host)
    if literal in LOCAL:
        return Way((literal, *address[1:]))
    if sock.type != _socket.SOCK_STREAM:
        raise PermissionError(errno.EPERM, _UDP_REFUSED)
    name = host if literal is None else stand_ins.name(literal)
    request = b"\x05\x01\x00" + _encode_host(name, literal) + port.to_bytes(2, "big")
    shown = literal or stand_ins.address(host)
    if family == _socket.AF_INET:
        return Way((_PROXY_HOST, network.proxy_port), request, (shown, port))
    return Way(("::ffff:" + _PROXY_HOST, network.proxy_port), request, (shown, port, 0, 0))


def _encode_host(name: "str | None", literal: "str | None") -> bytes:
    if name is not None:
        return bytes((3, len(name))) + name.encode("ascii")
    assert literal is not None
    if ":" in literal:
        return b"\x04" + _socket.inet_pton(_socket.AF_INET6, literal.partition("%")[0])
    return b"\x01" + _socket.inet_aton(literal)


# --- the SOCKS exchange, without a socket ---


def exchange() -> "Generator[int, bytes, None]":
    """Yields how many bytes it wants, is sent as many (fewer only at the end of the stream), and
    returns when the connection stands. Raises the OSError that tells what happened."""
    answer = yield _ANSWER
    if len(answer) == _ANSWER and answer[:4] == b"\x05\x00\x05\x00":
        return
    code = answer[3] if len(answer) == _ANSWER else 1
    reason = yield _REASON
    raise _failure(code, reason.decode("utf-8", "replace").strip())


def _failure(code: int, reason: str) -> OSError:
    if code in (4, 8):
        return _socket.gaierror(_socket.EAI_NONAME, reason or "Name or service not known")
    number = {
        2: errno.EPERM,
        3: errno.ENETUNREACH,
        5: errno.ECONNREFUSED,
        6: errno.ETIMEDOUT,
        7: errno.EOPNOTSUPP,
    }.get(code, errno.ECONNABORTED)
    return OSError(number, reason or "the connection could not be made")


# --- socket.socket ---


def _connect(self: "_socket.socket", address: "Any", /) -> None:
    way = find_way(self, address)
    if way.request:
        _dial(self, way)
    else:
        _socket.socket.connect(self, way.address)


def _connect_ex(self: "_socket.socket", address: "Any", /) -> int:
    way = find_way(self, address)
    if not way.request:
        return _socket.socket.connect_ex(self, way.address)
    try:
        _dial(self, way)
    except _socket.gaierror:
        raise
    except OSError as error:
        return error.errno or errno.EAGAIN  # The one without a number is a timeout.
    return 0


def _dial(sock: "_socket.socket", way: Way) -> None:
    """Connect through the proxy within the socket's own timeout."""
    base = _socket.socket  # Not the class of `sock`: an SSLSocket would encrypt.
    timeout = base.gettimeout(sock)
    patience = _PATIENCE if timeout == 0 else timeout
    deadline = None if patience is None else monotonic() + patience

    def receive(count: int) -> bytes:
        data = b""
        while len(data) < count:
            if deadline is not None:
                base.settimeout(sock, max(deadline - monotonic(), 0.001))
            more = base.recv(sock, count - len(data))
            if not more:
                break
            data += more
        return data

    try:
        base.settimeout(sock, patience)
        prepare(sock)
        base.connect(sock, way.address)
        base.sendall(sock, GREETING + way.request)
        talk = exchange()
        wanted = next(talk)
        while True:
            try:
                wanted = talk.send(receive(wanted))
            except StopIteration:
                break
    finally:
        base.settimeout(sock, timeout)
    remember(sock, way)


def prepare(sock: "_socket.socket") -> None:
    """An IPv6 socket reaches the proxy as ::ffff:127.0.0.1, which must not be switched off."""
    if sock.family == _socket.AF_INET6:
        _socket.socket.setsockopt(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)


def remember(sock: "_socket.socket", way: Way) -> None:
    _peers[_socket.socket.getsockname(sock)[1]] = way.peer


def _getpeername(self: "_socket.socket", /) -> "Any":
    peer = _socket.socket.getpeername(self)
    if (
        isinstance(peer, tuple)
        and peer[1:2] == (network.proxy_port,)
        and peer[0] in (_PROXY_HOST, "::ffff:" + _PROXY_HOST)
    ):
        return _peers.get(_socket.socket.getsockname(self)[1], peer)
    return peer


def _bind(self: "_socket.socket", address: "Any", /) -> None:
    host = address[0] if isinstance(address, tuple) and address else None
    if isinstance(host, str) and is_local_name(host.lower()):
        local = "::1" if self.family == _socket.AF_INET6 else "127.0.0.1"
        address = (local, *address[1:])
    _socket.socket.bind(self, address)


def _sendto(self: "_socket.socket", data: "Any", /, *rest: "Any") -> int:
    return _socket.socket.sendto(self, data, *_datagram(self, rest))


def _sendmsg(self: "_socket.socket", buffers: "Any", /, *rest: "Any") -> int:
    if len(rest) == 3:
        rest = _datagram(self, rest)
    return _socket.socket.sendmsg(self, buffers, *rest)


def _datagram(sock: "_socket.socket", rest: "tuple[Any, ...]") -> "tuple[Any, ...]":
    """The arguments of sendto or sendmsg, the last of which is an address."""
    if sock.type == _socket.SOCK_STREAM or not rest:
        return rest
    return (*rest[:-1], find_way(sock, rest[-1]).address)
