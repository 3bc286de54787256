"""Looking names up inside a sandbox: nobody is asked.

There is no name server in here. `getaddrinfo` gives each name a stand-in address of 198.18.0.0/15
(RFC 2544, never routed), and `dial` turns it back into the name, so that the box, or Tor, resolves
it. What is local: localhost and this host's own name.

Loaded when user code first imports `socket`; imports only what `socket` has imported already.
"""

import _socket
import _thread

from bento.guest.network import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Stand-ins in use at once: as many as fit in 198.18.0.0/18; the oldest is used again.
_NAMES = 16384

# Addresses that mean this sandbox.
LOCAL = frozenset(("127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"))

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

# The C library's, with the enumerations of `socket`.
_getaddrinfo: "Callable[..., list[Any]]"


def patch(module: "Any") -> None:
    """Of the module `socket`."""
    global _getaddrinfo
    _getaddrinfo = module.getaddrinfo
    replace(
        module,
        {
            "getaddrinfo": getaddrinfo,
            "gethostbyname": gethostbyname,
            "gethostbyname_ex": gethostbyname_ex,
            "gethostbyaddr": gethostbyaddr,
            "getnameinfo": getnameinfo,
        },
    )


class StandIns:
    """Names numbered from 1; a ring, so that a loop over many names needs bounded memory."""

    def __init__(self) -> None:
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


stand_ins = StandIns()


def host_text(host: "str | bytes | bytearray") -> str:
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
    return _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")


def find_literal(host: str) -> "str | None":
    """An address in its usual spelling, or None for a name. Never asks anybody."""
    try:
        found = _socket.getaddrinfo(host, None, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except _socket.gaierror:
        return None
    return str(found[0][4][0])


def is_local_name(host: str) -> bool:
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
    if host is None:
        return _services(None, port, family, type, proto, flags)
    text = host_text(host)
    numeric = flags | _socket.AI_NUMERICHOST
    if is_local_name(text):
        return _local_answers(port, family, type, proto, numeric)
    if flags & _socket.AI_NUMERICHOST or find_literal(text) is not None:
        return _services(text, port, family, type, proto, numeric)
    if not text:
        raise _unknown_name()
    stand_in = stand_ins.address(text)
    if family == _socket.AF_INET6:
        stand_in = "::ffff:" + stand_in
    answers = _services(stand_in, port, family, type, proto, numeric)
    if flags & _socket.AI_CANONNAME:
        answers[0] = (*answers[0][:3], text, answers[0][4])
    return answers


def _local_answers(port: "Any", family: int, type: int, proto: int, flags: int) -> "list[Any]":
    """IPv4 first: that is where people's own servers listen."""
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
    name = port.decode("latin-1") if isinstance(port, bytes) else port
    port = _SERVICES.get(name, port) if isinstance(name, str) else port
    return _getaddrinfo(host, port, family, type, proto, flags)


def gethostbyname(hostname: str) -> str:
    """As `socket.gethostbyname`."""
    answers = getaddrinfo(hostname, None, _socket.AF_INET, _socket.SOCK_STREAM)
    return str(answers[0][4][0])


def gethostbyname_ex(hostname: str) -> "tuple[str, list[str], list[str]]":
    """As `socket.gethostbyname_ex`: no aliases, one address."""
    return hostname, [], [gethostbyname(hostname)]


def gethostbyaddr(ip_address: str) -> "tuple[str, list[str], list[str]]":
    """As `socket.gethostbyaddr`; knows only the names that were asked for in here."""
    text = host_text(ip_address)
    literal = find_literal(text)
    if literal is None:
        return text, [], [gethostbyname(text)]
    name = _name_of(literal)
    if name is None:
        raise _socket.herror(1, "Unknown host")
    return name, [], [literal]


def getnameinfo(sockaddr: "tuple[Any, ...]", flags: int) -> "tuple[str, str]":
    """As `socket.getnameinfo`; knows only the names that were asked for in here."""
    host, service = _socket.getnameinfo(
        sockaddr, (flags | _socket.NI_NUMERICHOST) & ~_socket.NI_NAMEREQD
    )
    name = None if flags & _socket.NI_NUMERICHOST else _name_of(host)
    if name is None and flags & _socket.NI_NAMEREQD:
        raise _unknown_name()
    return name or host, service


def _name_of(literal: str) -> "str | None":
    return "localhost" if literal in LOCAL else stand_ins.name(literal)
