"""asyncio inside a sandbox: the same look-ups and the same exchange, without holding up the loop.

Loaded when user code first imports `asyncio`.
"""

from bento.guest import names
from bento.guest.dial import GREETING, exchange, find_way, prepare, remember
from bento.guest.network import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

# asyncio's own.
_sock_connect: "Callable[..., Any]"


def patch_resolver(module: "Any") -> None:
    """Of `asyncio.base_events`: look-ups never block in here, so they need no thread."""
    replace(module.BaseEventLoop, {"getaddrinfo": _getaddrinfo, "getnameinfo": _getnameinfo})


def patch_connect(module: "Any") -> None:
    """Of `asyncio.selector_events`."""
    global _sock_connect
    _sock_connect = module.BaseSelectorEventLoop.sock_connect
    replace(module.BaseSelectorEventLoop, {"sock_connect": _connect})


async def _getaddrinfo(
    self: object,
    host: "Any",
    port: "Any",
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> "list[Any]":
    return names.getaddrinfo(host, port, family, type, proto, flags)


async def _getnameinfo(
    self: object, sockaddr: "tuple[Any, ...]", flags: int = 0
) -> "tuple[str, str]":
    return names.getnameinfo(sockaddr, flags)


async def _connect(self: "asyncio.AbstractEventLoop", sock: "Any", address: "Any") -> None:
    """The same exchange as `dial`, waiting in the loop."""
    way = find_way(sock, address)
    if not way.request:
        await _sock_connect(self, sock, way.address)
        return
    prepare(sock)
    await _sock_connect(self, sock, way.address)
    await self.sock_sendall(sock, GREETING + way.request)
    talk = exchange()
    wanted = next(talk)
    while True:
        try:
            wanted = talk.send(await _receive(self, sock, wanted))
        except StopIteration:
            break
    remember(sock, way)


async def _receive(loop: "asyncio.AbstractEventLoop", sock: "Any", count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(sock, count - len(data))
        if not more:
            break
        data += more
    return data
