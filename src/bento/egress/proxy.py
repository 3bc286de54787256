"""The proxy that all network traffic of one instance passes.

It accepts on a listener that was born inside the sandbox's network namespace, so being able to
connect is the authentication. Per connection: SOCKS request, verdict, quotas, dial, relay.
Nothing here is logged: reasons go to the function that asked, counts to the operator.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass

from bento.egress.addresses import IPAddress
from bento.egress.connection import Connection
from bento.egress.limits import ACCEPT_BATCH, EgressLimits
from bento.egress.meters import Destinations, Meter, TokenBucket
from bento.egress.policy import EgressPolicy
from bento.egress.resolve import Resolver
from bento.egress.routes import Refusal, Route
from bento.egress.socks_server import Reply

# The host is out of something; accepting again at once would spin.
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_SHORTAGE_PAUSE = 0.5  # seconds


@dataclass(slots=True)
class Counters:
    """Since the proxy began, but for `open`. Bytes are payload, not SOCKS."""

    bytes_in: int = 0
    """From the network to the function."""
    bytes_out: int = 0
    """From the function to the network."""
    connections: int = 0
    """Made."""
    open: int = 0
    """Open now, or being dialled."""
    refused: int = 0
    """By the policy, a quota or the SOCKS grammar."""
    failed: int = 0
    """Allowed, but the destination could not be reached."""


class EgressProxy:
    """`serve` a listener, `reload` a policy, `close`. One for each instance."""

    def __init__(
        self,
        policy: EgressPolicy,
        limits: EgressLimits,
        route: Route,
        *,
        box: Destinations | None = None,
    ) -> None:
        """`box` counts destinations for all instances of a box together."""
        self.policy = policy
        self.limits = limits
        self.route = route
        self.counters = Counters()
        own = Destinations(limits.destination)
        self.ledgers: tuple[Destinations, ...] = (own,) if box is None else (own, box)
        self._meter = Meter(limits)
        self._arrivals = TokenBucket(limits.connections_per_second, limits.burst_connections)
        self._lookups = asyncio.Semaphore(limits.lookups)
        self._listeners: set[socket.socket] = set()
        self._connections: set[Connection] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._resolving: set[asyncio.Task[list[IPAddress]]] = set()
        self._sleepers: list[Callable[[], None]] = []
        self._wake_timer: asyncio.TimerHandle | None = None
        self._accept_timer: asyncio.TimerHandle | None = None
        self._closed = False

    # --- for the box ---

    def sibling(self, policy: EgressPolicy, route: Route) -> EgressProxy:
        """Another way out of the same instance: one count of bytes, connections and destinations."""
        other = EgressProxy(policy, self.limits, route)
        other.counters, other.ledgers, other._meter = self.counters, self.ledgers, self._meter
        return other

    async def serve(self, listener: socket.socket) -> None:
        """Begin to accept on `listener`, which is the proxy's from now on. Returns at once."""
        if self._closed:
            listener.close()
            return
        listener.setblocking(False)
        self._listeners.add(listener)
        self._accept_on()

    def reload(self, policy: EgressPolicy, route: Route | None = None) -> None:
        """Open connections which the new policy refuses are reset; the others do not notice.
        A new route counts for new connections."""
        self.policy = policy
        self.route = route or self.route
        for connection in list(self._connections):
            connection.judge_again()

    async def close(self) -> None:
        """End everything: listeners, connections, tasks, timers."""
        self._closed = True
        self._accept_off()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        tasks = [*self._handshakes, *self._resolving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._abort_all()
        if self._wake_timer:
            self._wake_timer.cancel()
        self._sleepers.clear()

    # --- accepting ---

    def _accept_on(self) -> None:
        self._accept_timer = None
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.add_reader(listener.fileno(), self._accept_some, listener)

    def _accept_off(self, seconds: float | None = None) -> None:
        """For some time, or until a handshake has ended."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener.fileno())
        if self._accept_timer:
            self._accept_timer.cancel()
            self._accept_timer = None
        if seconds is not None:
            self._accept_timer = loop.call_later(seconds, self._accept_on)

    def _accept_some(self, listener: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            if len(self._handshakes) >= self.limits.handshakes:
                self._accept_off()
                return
            if wait := self._arrivals.seconds_until(1):
                self._accept_off(wait)
                return
            if not self._accept(listener):
                return

    def _accept(self, listener: socket.socket) -> bool:
        try:
            inner, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _SHORTAGES:
                self._accept_off(_SHORTAGE_PAUSE)
                return False
            # The connection was gone before it was taken; other errors end the listener.
            if error.errno != errno.ECONNABORTED:
                asyncio.get_running_loop().remove_reader(listener.fileno())
                self._listeners.discard(listener)
                listener.close()
            return False
        self._arrivals.spend(1)
        self._begin(inner)
        return True

    def _begin(self, inner: socket.socket) -> None:
        inner.setblocking(False)
        if inner.family != socket.AF_UNIX:  # as where a sandbox's connections are carried out
            inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, inner)
        self._connections.add(connection)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._handshakes.add(task)
        task.add_done_callback(self._handshake_ended)

    def _handshake_ended(self, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        if self._accept_timer is None:
            self._accept_on()
        if not task.cancelled() and (error := task.exception()):
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an egress connection failed in an unforeseen way", "exception": error}
            )

    # --- for connections (connection.Host) ---

    def take_place(self) -> None:
        if self._meter.exhausted:
            raise Refusal(Reply.NOT_ALLOWED, self._used_up())
        if self.counters.open >= self.limits.connections:
            raise Refusal(
                Reply.NOT_ALLOWED,
                f"{self.limits.connections} connections are open, the most a function may have",
            )
        self.counters.open += 1

    def opened(self) -> None:
        self.counters.connections += 1

    def refused(self) -> None:
        self.counters.refused += 1

    def failed(self) -> None:
        self.counters.failed += 1

    def ended(self, connection: Connection) -> None:
        if connection.holds_place:
            self.counters.open -= 1
        self._connections.discard(connection)

    async def lookup(self, resolver: Resolver, name: str) -> list[IPAddress]:
        """The place is given back when the resolver is done, however long the caller waits. A name
        carries something out as well, so it counts as bytes."""
        await self._lookups.acquire()
        self.passed(len(name), outwards=True)
        task = asyncio.ensure_future(resolver(name))
        self._resolving.add(task)
        task.add_done_callback(self._lookup_ended)
        try:
            async with asyncio.timeout(self.limits.lookup_seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Refusal(Reply.HOST_UNREACHABLE, "the name server does not answer") from None

    def _lookup_ended(self, task: asyncio.Task[list[IPAddress]]) -> None:
        self._resolving.discard(task)
        self._lookups.release()
        if not task.cancelled():
            task.exception()  # Seen: nobody may be waiting any more.

    # --- bytes (relay.ByteGate) ---

    def allowance(self) -> int:
        return self._meter.allowance()

    def passed(self, count: int, outwards: bool) -> None:
        self._meter.spend(count)
        if outwards:
            self.counters.bytes_out += count
        else:
            self.counters.bytes_in += count

    def wait(self, resume: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._sleepers.append(resume)
        if self._meter.exhausted:
            loop.call_soon(self._abort_all)
        elif self._wake_timer is None:
            self._wake_timer = loop.call_later(self._meter.seconds(), self._wake)

    def _wake(self) -> None:
        self._wake_timer = None
        sleepers, self._sleepers = self._sleepers, []
        for resume in sleepers:
            resume()

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def _used_up(self) -> str:
        return f"the function has used up its {self.limits.total_bytes} bytes of traffic"
