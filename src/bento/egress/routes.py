"""The ways out of a box: directly, through Tor, or none; and to relays, directly whatever the rest.

A route turns a request into a connected socket and asks the `Gate` before each address it would
connect to; the connection is made to exactly the address that was judged, so a name that changes
its answer between two look-ups (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Protocol

from bento.egress.addresses import IPAddress, canonical
from bento.egress.limits import MAX_ANSWERS, EgressLimits
from bento.egress.policy import EgressPolicy, Verdict
from bento.egress.resolve import Resolver
from bento.egress.socks_server import Reply, Request
from bento.errors import UsageError
from bento.tor.addresses import parse_endpoint
from bento.tor.socks import encode_request


class Refusal(Exception):
    """The connection is not made: the reply code, and a sentence for the function's author."""

    def __init__(self, code: Reply, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Gate(Protocol):
    """What a route must ask of the proxy."""

    @property
    def policy(self) -> EgressPolicy: ...

    @property
    def limits(self) -> EgressLimits: ...

    async def claim(self, name: str | None, ip: IPAddress | None) -> None:
        """Count one connection to this destination, or raise Refusal. One at a time is held:
        a further claim gives the one before it back."""

    async def lookup(self, resolver: Resolver, name: str) -> list[IPAddress]:
        """Resolve within the instance's limits, or raise Refusal."""


class Route(Protocol):
    """One way out."""

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        """A connected non-blocking socket. Raises Refusal or OSError."""


class NoRoute:
    """There is no way out here, and `reason` says why."""

    def __init__(self, reason: str = "this box gives functions no network") -> None:
        self._reason = reason

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        raise Refusal(Reply.NOT_ALLOWED, self._reason)


class DirectRoute:
    """From the box itself, as an exit relay would."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        refusal: Refusal | None = None
        error: OSError | None = None
        for ip in map(canonical, await self._candidates(request, gate)):
            verdict = gate.policy.verdict(request.name, ip, request.port)
            if not verdict.allowed:
                refusal = refusal or _refusal(verdict)
                continue
            await gate.claim(request.name, ip)
            try:
                async with asyncio.timeout(gate.limits.address_seconds):
                    return await connect(ip, request.port)
            except OSError as failure:
                error = failure
        raise error or refusal or Refusal(Reply.HOST_UNREACHABLE, "the name has no address")

    async def _candidates(self, request: Request, gate: Gate) -> list[IPAddress]:
        if request.ip is not None:
            return [request.ip]
        name = request.name or ""
        if name == "onion" or name.endswith(".onion"):
            raise Refusal(Reply.NOT_ALLOWED, "onion services need a box whose egress is Tor")
        verdict = gate.policy.may_resolve(name, request.port)
        if not verdict.allowed:
            raise _refusal(verdict)
        return (await gate.lookup(self._resolver, name))[:MAX_ANSWERS]


class RelaysRoute:
    """Of a function that may connect to relays: to their ORPorts from the box itself, as its own relay
    does; to everything else as `usual`."""

    def __init__(self, direct: DirectRoute, usual: Route) -> None:
        self._direct = direct
        self._usual = usual

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        to_relay = gate.policy.to_relay(request.name, request.ip, request.port)
        return await (self._direct if to_relay else self._usual).open(request, gate)


class TorRoute:
    """Through the SOCKS port of a tor; names are resolved by the exit it chooses.

    `proxy` is "unix:/path" or "HOST:PORT". `username(user)` is the SOCKS user name for a stream to
    which the function itself gave the name `user`: tor gives different ones different circuits
    (IsolateSOCKSAuth), so it must name the function whatever `user` is."""

    def __init__(self, proxy: str, username: Callable[[str], str]) -> None:
        """Raises UsageError if one of them cannot be used."""
        self._host, self._port = parse_endpoint(proxy)
        encode_request("0.0.0.0", 1, username(""))
        self._username = username

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        verdict = gate.policy.verdict(request.name, request.ip, request.port)
        if not verdict.allowed:
            raise _refusal(verdict)
        wire = self._written(request)
        await gate.claim(request.name, request.ip)
        sock = await self._reach_tor()
        try:
            await self._ask(sock, wire)
        except OSError as error:
            sock.close()
            raise Refusal(Reply.FAILURE, "the box's tor closed the connection") from error
        except BaseException:
            sock.close()
            raise
        return sock

    async def _reach_tor(self) -> socket.socket:
        try:
            if self._port is None:
                return await _connected(socket.AF_UNIX, self._host)
            return await _connected(_family(self._host), (self._host, self._port))
        except OSError as error:
            raise Refusal(Reply.FAILURE, "the box's tor cannot be reached") from error

    def _written(self, request: Request) -> bytes:
        try:
            username = self._username(request.user)
            return encode_request(request.name or str(request.ip), request.port, username)
        except UsageError as error:
            raise Refusal(Reply.FAILURE, error.detail) from None

    async def _ask(self, sock: socket.socket, wire: bytes) -> None:
        """RFC 1928 with RFC 1929. The greeting goes alone: tor loses its answer to it if the user
        name comes in the same read."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"\x05\x01\x02")
        if await _receive(sock, 2) != b"\x05\x02":
            raise _strange_tor()
        await loop.sock_sendall(sock, wire)
        if await _receive(sock, 2) != b"\x01\x00":
            raise _strange_tor()
        _, code, _, kind = await _receive(sock, 4)
        if code != 0:
            raise Refusal(*_TOR_REPLIES.get(code, (Reply.FAILURE, "Tor failed to connect")))
        size = {1: 4, 4: 16}.get(kind)
        if size is None:
            size = (await _receive(sock, 1))[0]
        await _receive(sock, size + 2)


def _strange_tor() -> Refusal:
    return Refusal(Reply.FAILURE, "the box's tor does not take the connection")


# tor answers with RFC 1928 codes, and with ExtendedErrors also F0 to F7 (tor's socks-extensions).
_TOR_REPLIES: dict[int, tuple[Reply, str]] = {
    1: (Reply.FAILURE, "Tor failed to connect"),
    2: (Reply.NOT_ALLOWED, "no Tor exit allows this destination"),
    3: (Reply.NETWORK_UNREACHABLE, "the exit finds no way to this destination"),
    4: (Reply.HOST_UNREACHABLE, "the exit cannot resolve or reach this destination"),
    5: (Reply.CONNECTION_REFUSED, "the destination refused the connection"),
    6: (Reply.TIMED_OUT, "Tor timed out"),
    0xF0: (Reply.HOST_UNREACHABLE, "the onion service is not known"),
    0xF1: (Reply.HOST_UNREACHABLE, "the onion service's descriptor is invalid"),
    0xF2: (Reply.NETWORK_UNREACHABLE, "the onion service does not answer"),
    0xF3: (Reply.NETWORK_UNREACHABLE, "the onion service cannot be met"),
    0xF4: (Reply.NOT_ALLOWED, "the onion service wants a client key"),
    0xF5: (Reply.NOT_ALLOWED, "the onion service does not accept this client key"),
    0xF6: (Reply.ADDRESS_NOT_SUPPORTED, "the onion address is not valid"),
    0xF7: (Reply.TIMED_OUT, "the onion service timed out"),
}


def reply_of(error: OSError) -> tuple[Reply, str]:
    """The reply that lets the guest raise the same kind of error again, and words that tell
    nothing about the box."""
    if isinstance(error, TimeoutError):
        return Reply.TIMED_OUT, "the destination does not answer"
    if isinstance(error, socket.gaierror):
        return Reply.HOST_UNREACHABLE, "the name does not resolve"
    if error.errno == errno.ECONNREFUSED:
        return Reply.CONNECTION_REFUSED, "the destination refused the connection"
    if error.errno in _NO_WAY:
        return Reply.NETWORK_UNREACHABLE, "there is no way from this box to the destination"
    return Reply.FAILURE, "the connection could not be made"


_NO_WAY = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
)


async def connect(ip: IPAddress, port: int) -> socket.socket:
    """A non-blocking TCP connection to exactly this address. Raises OSError."""
    sock = await _connected(_family(str(ip)), (str(ip), port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _connected(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _receive(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(sock, count - len(data))
        if not more:
            raise Refusal(Reply.FAILURE, "the box's tor closed the connection")
        data += more
    return data


def _refusal(verdict: Verdict) -> Refusal:
    return Refusal(Reply.NOT_ALLOWED, verdict.reason)
