"""Ordinary network code inside a sandbox that has only loopback and one SOCKS5 proxy.

`install` costs nothing until user code imports `socket` or `asyncio`; then a few methods are
replaced so that TCP connections to anywhere but this sandbox itself go through the proxy. The
proxy is the box's; it resolves names, judges and explains. This module is convenience: the network
namespace is the guarantee, and nothing breaks for the box if a function takes these patches off.

How names work: there is no name server in here. `getaddrinfo` gives each name a stand-in address
of 198.18.0.0/15 (RFC 2544, never routed) and `connect` turns it back into the name, so that the
box, or Tor, resolves it. What is local: 127.0.0.1, ::1, localhost, this host's own name. All else,
other loopback addresses too, is asked of the proxy.

Part of the blob injected into every sandbox: at import it may import nothing but sys.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import asyncio
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

_PROXY_HOST = "127.0.0.1"
_GREETING = b"\x05\x01\x00"

# The answer to greeting and request together: 2 bytes, then 10 (the proxy binds an IPv4 address).
_ANSWER = 12

# The proxy's explanation after a failure is shorter than this (egress.limits.MAX_REASON).
_REASON = 512

# Seconds that `connect` on a non-blocking socket may take outside asyncio: as long as the proxy.
_PATIENCE = 60.0

# Stand-ins in use at once: as many as fit in 198.18.0.0/18; the oldest is used again.
_NAMES = 16384

_LOCAL = frozenset(("127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"))

# A sandbox has no /etc/services; these few are enough for what people write.
_SERVICES = {
    "ftp": 21,
    "ssh": 22,
    "smtp": 25,
    "domain": 53,
    "http": 80,
    "pop3": 110,
    "imap2": 143,
    "https": 443,
    "imaps": 993,
    "pop3s": 995,
}

_UDP_REFUSED = "functions reach the network by TCP only"

_proxy_port = 1080

# Local port of a connection to the proxy -> the address that was asked for. Ports are few, so the
# table is; keyed like this it survives what happens to sockets (dup, detach, ssl.wrap_socket).
_peers: "dict[int, tuple[Any, ...]]" = {}


def install(proxy_port: int = 1080) -> None:
    """Make `socket` and `asyncio` use the proxy on 127.0.0.1:`proxy_port`. Call it once, before
    user code."""
    global _proxy_port
    _proxy_port = proxy_port
    for name in tuple(_patches):
        if name in sys.modules:
            _patches.pop(name)(sys.modules[name])
    if _patches:
        sys.meta_path.insert(0, _Finder)


# --- patching at import ---


class _Finder:
    """Finds the modules to patch where the other finders do, and lends them another loader."""

    @staticmethod
    def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name not in _patches:
            return None
        for finder in sys.meta_path:
            if finder is _Finder:
                continue
            spec: Any = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Loads a module as its own loader would, then patches it."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: "Any") -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        patch = _patches.pop(module.__name__, None)
        if patch:
            patch(module)
        if not _patches and _Finder in sys.meta_path:
            sys.meta_path.remove(_Finder)


def _replace(place: object, functions: "dict[str, Callable[..., Any]]") -> None:
    for name, function in functions.items():
        function.__name__ = function.__qualname__ = name
        setattr(place, name, function)


def _patch_socket(module: "Any") -> None:
    global _getaddrinfo
    _getaddrinfo = module.getaddrinfo
    _replace(
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
    _replace(
        module,
        {
            "getaddrinfo": getaddrinfo,
            "gethostbyname": gethostbyname,
            "gethostbyname_ex": gethostbyname_ex,
            "gethostbyaddr": gethostbyaddr,
            "getnameinfo": getnameinfo,
        },
    )


def _patch_resolver(module: "Any") -> None:
    """Look-ups never block in here, so the loop needs no thread for them."""
    _replace(
        module.BaseEventLoop,
        {"getaddrinfo": _loop_getaddrinfo, "getnameinfo": _loop_getnameinfo},
    )


def _patch_loop(module: "Any") -> None:
    global _sock_connect
    _sock_connect = module.BaseSelectorEventLoop.sock_connect
    _replace(module.BaseSelectorEventLoop, {"sock_connect": _loop_sock_connect})


_patches: "dict[str, Callable[[ModuleType], None]]" = {
    "socket": _patch_socket,
    "asyncio.base_events": _patch_resolver,
    "asyncio.selector_events": _patch_loop,
}
_getaddrinfo: "Callable[..., list[Any]]"
_sock_connect: "Callable[..., Any]"


# --- names and stand-ins ---


class _StandIns:
    """Names numbered from 1; a ring, so that a loop over many names needs bounded memory."""

    def __init__(self) -> None:
        import _thread

        self._lock = _thread.allocate_lock()
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._last = 0

    def address(self, name: str) -> str:
        """The stand-in of a name."""
        with self._lock:
            number = self._numbers.get(name)
            if number is None:
                number = self._last = self._last % _NAMES + 1
                self._numbers.pop(self._names.get(number, ""), None)
                self._names[number] = name
                self._numbers[name] = number
        return f"198.18.{number >> 8}.{number & 255}"

    def name(self, address: str) -> "str | None":
        """The name behind an address, if it is a stand-in."""
        address = address.removeprefix("::ffff:")
        if not address.startswith("198.18."):
            return None
        _, _, high, low = address.split(".")
        return self._names.get(int(high) << 8 | int(low))


_stand_ins = _StandIns()


def _host_text(host: "str | bytes | bytearray") -> str:
    """The one ASCII spelling of a host. Raises socket.gaierror."""
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("latin-1")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    host = host.lower().removesuffix(".")
    if len(host) > 253:
        raise _unknown_name()
    return host


def _unknown_name() -> OSError:
    import _socket

    return _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")


def _literal(host: str) -> "str | None":
    """An address in its usual spelling, or None for a name. Never asks anybody."""
    import _socket

    try:
        found = _socket.getaddrinfo(host, None, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except _socket.gaierror:
        return None
    return str(found[0][4][0])


def _is_local_name(host: str) -> bool:
    import _socket

    return (
        host == "localhost" or host.endswith(".localhost") or host == _socket.gethostname().lower()
    )


def getaddrinfo(
    host: "str | bytes | None",
    port: "str | bytes | int | None",
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> "list[Any]":
    """As `socket.getaddrinfo`, without asking anybody: a name gets its stand-in."""
    import _socket

    if host is None:
        return _services(None, port, family, type, proto, flags)
    text = _host_text(host)
    numeric = flags | _socket.AI_NUMERICHOST
    if _is_local_name(text):
        return _local_answers(port, family, type, proto, numeric)
    if flags & _socket.AI_NUMERICHOST or _literal(text) is not None:
        return _services(text, port, family, type, proto, numeric)
    if not text:
        raise _unknown_name()
    stand_in = _stand_ins.address(text)
    if family == _socket.AF_INET6:
        stand_in = "::ffff:" + stand_in
    answers = _services(stand_in, port, family, type, proto, numeric)
    if flags & _socket.AI_CANONNAME:
        answers[0] = (*answers[0][:3], text, answers[0][4])
    return answers


def _local_answers(port: "Any", family: int, type: int, proto: int, flags: int) -> "list[Any]":
    """IPv4 first: that is where people's own servers listen."""
    import _socket

    answers: list[Any] = []
    for address, kind in (("127.0.0.1", _socket.AF_INET), ("::1", _socket.AF_INET6)):
        if family in (0, kind):
            answers += _services(address, port, kind, type, proto, flags)
    if not answers:
        raise _unknown_name()
    return answers


def _services(
    host: "str | None", port: "Any", family: int, type: int, proto: int, flags: int
) -> "list[Any]":
    """The C library's answer for an address, with a table of our own for names of services."""
    import _socket

    name = port.decode("latin-1") if isinstance(port, bytes) else port
    port = _SERVICES.get(name, port) if isinstance(name, str) else port
    if host is not None:
        flags &= ~_socket.AI_ADDRCONFIG  # Only loopback is configured; all addresses are usable.
    return _getaddrinfo(host, port, family, type, proto, flags)


def gethostbyname(hostname: str) -> str:
    """As `socket.gethostbyname`."""
    import _socket

    answers = getaddrinfo(hostname, None, _socket.AF_INET, _socket.SOCK_STREAM)
    return str(answers[0][4][0])


def gethostbyname_ex(hostname: str) -> "tuple[str, list[str], list[str]]":
    """As `socket.gethostbyname_ex`: no aliases, one address."""
    return hostname, [], [gethostbyname(hostname)]


def gethostbyaddr(ip_address: str) -> "tuple[str, list[str], list[str]]":
    """As `socket.gethostbyaddr`; knows only the names that were asked for in here."""
    import _socket

    text = _host_text(ip_address)
    literal = _literal(text)
    if literal is None:
        return text, [], [gethostbyname(text)]
    name = _name_of(literal)
    if name is None:
        raise _socket.herror(1, "Unknown host")
    return name, [], [literal]


def getnameinfo(sockaddr: "tuple[Any, ...]", flags: int) -> "tuple[str, str]":
    """As `socket.getnameinfo`; knows only the names that were asked for in here."""
    import _socket

    host, service = _socket.getnameinfo(
        sockaddr, (flags | _socket.NI_NUMERICHOST) & ~_socket.NI_NAMEREQD
    )
    name = None if flags & _socket.NI_NUMERICHOST else _name_of(host)
    if name is None and flags & _socket.NI_NAMEREQD:
        raise _unknown_name()
    return name or host, service


def _name_of(literal: str) -> "str | None":
    return "localhost" if literal in _LOCAL else _stand_ins.name(literal)


# --- where a connection goes ---


class _Way:
    """`address` is what the kernel is to connect to; through the proxy there is also the SOCKS
    `request`, and `peer` is what getpeername then reports."""

    __slots__ = ("address", "peer", "request")

    def __init__(self, address: "Any", request: bytes = b"", peer: "tuple[Any, ...]" = ()) -> None:
        self.address = address
        self.request = request
        self.peer = peer


def _way(sock: "_socket.socket", address: "Any") -> _Way:
    """Decide for a socket and the address given to connect, bind or sendto.

    Raises PermissionError for datagrams to anywhere but this sandbox."""
    import _socket

    family = sock.family
    if (
        family not in (_socket.AF_INET, _socket.AF_INET6)
        or not isinstance(address, tuple)
        or len(address) < 2
        or not isinstance(address[0], (str, bytes, bytearray))
        or not isinstance(address[1], int)
    ):
        return _Way(address)  # Unix sockets; and what the C code will complain about itself.
    host, port = _host_text(address[0]), address[1]
    if not host or host == "<broadcast>":
        return _Way(address)
    if _is_local_name(host):
        return _Way(("127.0.0.1" if family == _socket.AF_INET else "::1", *address[1:]))
    literal = _literal(host)
    if literal in _LOCAL:
        return _Way((literal, *address[1:]))
    if sock.type != _socket.SOCK_STREAM:
        import errno

        raise PermissionError(errno.EPERM, _UDP_REFUSED)
    name = host if literal is None else _stand_ins.name(literal)
    request = b"\x05\x01\x00" + _encode_host(name, literal) + port.to_bytes(2, "big")
    shown = literal or _stand_ins.address(host)
    if family == _socket.AF_INET:
        return _Way((_PROXY_HOST, _proxy_port), request, (shown, port))
    return _Way(("::ffff:" + _PROXY_HOST, _proxy_port), request, (shown, port, 0, 0))


def _encode_host(name: "str | None", literal: "str | None") -> bytes:
    import _socket

    if name is not None:
        return bytes((3, len(name))) + name.encode("ascii")
    assert literal is not None
    if ":" in literal:
        return b"\x04" + _socket.inet_pton(_socket.AF_INET6, literal.partition("%")[0])
    return b"\x01" + _socket.inet_aton(literal)


# --- the SOCKS exchange, without a socket ---


def _exchange() -> "Generator[int, bytes, None]":
    """Yields how many bytes it wants, is sent as many (fewer only at the end of the stream), and
    returns when the connection stands. Raises the OSError that tells what happened."""
    answer = yield _ANSWER
    if len(answer) == _ANSWER and answer[:4] == b"\x05\x00\x05\x00":
        return
    code = answer[3] if len(answer) == _ANSWER else 1
    reason = yield _REASON
    raise _failure(code, reason.decode("utf-8", "replace").strip())


def _failure(code: int, reason: str) -> OSError:
    import _socket
    import errno

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
    import _socket

    way = _way(self, address)
    if way.request:
        _dial(self, way)
    else:
        _socket.socket.connect(self, way.address)


def _connect_ex(self: "_socket.socket", address: "Any", /) -> int:
    import _socket
    import errno

    way = _way(self, address)
    if not way.request:
        return _socket.socket.connect_ex(self, way.address)
    try:
        _dial(self, way)
    except _socket.gaierror:
        raise
    except OSError as error:
        return error.errno or errno.EAGAIN  # The one without a number is a timeout.
    return 0


def _dial(sock: "_socket.socket", way: _Way) -> None:
    """Connect through the proxy within the socket's own timeout."""
    import _socket
    from time import monotonic

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
        _prepare(sock)
        base.connect(sock, way.address)
        base.sendall(sock, _GREETING + way.request)
        exchange = _exchange()
        wanted = next(exchange)
        while True:
            try:
                wanted = exchange.send(receive(wanted))
            except StopIteration:
                break
    finally:
        base.settimeout(sock, timeout)
    _remember(sock, way)


def _prepare(sock: "_socket.socket") -> None:
    """An IPv6 socket reaches the proxy as ::ffff:127.0.0.1, which must not be switched off."""
    import _socket

    if sock.family == _socket.AF_INET6:
        _socket.socket.setsockopt(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)


def _remember(sock: "_socket.socket", way: _Way) -> None:
    import _socket

    _peers[_socket.socket.getsockname(sock)[1]] = way.peer


def _getpeername(self: "_socket.socket", /) -> "Any":
    import _socket

    peer = _socket.socket.getpeername(self)
    if (
        isinstance(peer, tuple)
        and peer[1:2] == (_proxy_port,)
        and peer[0] in (_PROXY_HOST, "::ffff:" + _PROXY_HOST)
    ):
        return _peers.get(_socket.socket.getsockname(self)[1], peer)
    return peer


def _bind(self: "_socket.socket", address: "Any", /) -> None:
    import _socket

    host = address[0] if isinstance(address, tuple) and address else None
    if isinstance(host, str) and _is_local_name(host.lower()):
        local = "::1" if self.family == _socket.AF_INET6 else "127.0.0.1"
        address = (local, *address[1:])
    _socket.socket.bind(self, address)


def _sendto(self: "_socket.socket", data: "Any", /, *rest: "Any") -> int:
    import _socket

    return _socket.socket.sendto(self, data, *_datagram(self, rest))


def _sendmsg(self: "_socket.socket", buffers: "Any", /, *rest: "Any") -> int:
    import _socket

    if len(rest) == 3:
        rest = _datagram(self, rest)
    return _socket.socket.sendmsg(self, buffers, *rest)


def _datagram(sock: "_socket.socket", rest: "tuple[Any, ...]") -> "tuple[Any, ...]":
    """The arguments of sendto or sendmsg, the last of which is an address."""
    import _socket

    if sock.type == _socket.SOCK_STREAM or not rest:
        return rest
    return (*rest[:-1], _way(sock, rest[-1]).address)


# --- asyncio ---


async def _loop_getaddrinfo(
    self: object,
    host: "Any",
    port: "Any",
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> "list[Any]":
    return getaddrinfo(host, port, family, type, proto, flags)


async def _loop_getnameinfo(
    self: object, sockaddr: "tuple[Any, ...]", flags: int = 0
) -> "tuple[str, str]":
    return getnameinfo(sockaddr, flags)


async def _loop_sock_connect(
    self: "asyncio.AbstractEventLoop", sock: "Any", address: "Any"
) -> None:
    """The same exchange as `_dial`, waiting in the loop."""
    way = _way(sock, address)
    if not way.request:
        await _sock_connect(self, sock, way.address)
        return
    _prepare(sock)
    await _sock_connect(self, sock, way.address)
    await self.sock_sendall(sock, _GREETING + way.request)
    exchange = _exchange()
    wanted = next(exchange)
    while True:
        try:
            wanted = exchange.send(await _loop_receive(self, sock, wanted))
        except StopIteration:
            break
    _remember(sock, way)


async def _loop_receive(loop: "asyncio.AbstractEventLoop", sock: "Any", count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(sock, count - len(data))
        if not more:
            break
        data += more
    return data
