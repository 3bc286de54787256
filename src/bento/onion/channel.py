"""A link to a relay over asyncio: TLS, the handshake, cells to circuits, padding.

Invariants: circuits exist only after the relay proved its identity; whatever the peer does wrong
ends this link and every circuit on it, with the reason. What circuits send in one turn of the
loop leaves in one write, and acknowledgements wait up to 5 ms for company: a write of its own for
each of them was a third of all CPU time of a download. In a crowd cells gather before they are
read, too (`crowding`).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import Callable

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import cells, tls
from bento.onion.cells import CIRCUIT_ID_TOP_BIT, Cell, CellReader, Command, RelayRun
from bento.onion.certs import RelayIdentity
from bento.onion.circuit import Circuit
from bento.onion.crowding import GATHER_SECONDS, Crowding
from bento.onion.errors import LinkClosed
from bento.onion.link import LinkHandshake
from bento.onion.padding import LinkPadding, PaddingRange
from bento.onion.tls_link import TlsLink

CONNECT_SECONDS = 60.0
MAX_CIRCUITS = 4096  # far above what the limits of relays let a client have
QUEUE_BYTES = 256 * 1024  # so much goes to TLS at once, which then says when it is too much
PATIENCE_SECONDS = 0.005  # C-tor's scheduler (KIST) writes to a link every 10 ms

_CIRCUIT_CELLS = frozenset({Command.CREATED2, Command.DESTROY, Command.RELAY_EARLY})
_HARMLESS = frozenset({Command.PADDING, Command.VPADDING, Command.NETINFO})


class Channel:
    """One link. Make it with `Channel.connect`; `closed` tells when and why it ended."""

    def __init__(
        self,
        expected: RelayIdentity | None,
        padding: PaddingRange,
        now: Callable[[], float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[LinkClosed] = self._loop.create_future()
        self.bytes_in = 0
        self.bytes_out = 0
        self._expected = expected
        self._now = now
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._reader = CellReader()
        self._handshake: LinkHandshake | None = None
        self._tls: TlsLink | None = None
        self._circuits: dict[int, Circuit] = {}
        self._outgoing: list[bytes] = []
        self._queued = 0
        self._urgent = False
        self._flush_timer: asyncio.Handle | None = None
        self._crowding = Crowding()
        self._gathering: asyncio.TimerHandle | None = None
        self._can_write = asyncio.Event()
        self._can_write.set()
        uniform = random.SystemRandom().randint
        self._padding = LinkPadding(padding, uniform, self._loop.time())
        self._padding_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        expected: RelayIdentity | None,
        *,
        padding: PaddingRange | None = None,
        context: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
    ) -> Channel:
        """An established link to the relay at `host:port` (an IP address).

        Raises LinkClosed when it cannot be made, RemoteProtocolError when the relay is not the
        one that was expected or breaks the protocol.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = cls(expected, padding or PaddingRange(), now)
                name = tls.random_server_name()
                secure = TlsLink(channel, context or tls.client_context(), name)
                channel._tls = secure
                try:
                    await loop.create_connection(lambda: secure, host, port)
                    await channel._ready
                except BaseException:
                    channel.abort("the handshake did not succeed")
                    raise
        except TimeoutError as error:
            raise LinkClosed("the relay did not answer in time") from error
        except OSError as error:
            raise LinkClosed("the relay cannot be reached") from error
        return channel

    @property
    def identity(self) -> RelayIdentity:
        """Who the relay proved to be."""
        if self._handshake is None or self._handshake.identity is None:
            raise LocalProtocolError("the link is not established")
        return self._handshake.identity

    @property
    def clock_skew(self) -> float:
        """Seconds the relay's clock is ahead of ours."""
        return self._handshake.clock_skew if self._handshake else 0.0

    @property
    def circuits(self) -> int:
        return len(self._circuits)

    def new_circuit(self) -> Circuit:
        """A circuit without hops; its number is random, as numbers tell how much is going on."""
        if self.closed.done():
            raise self.closed.result()
        if len(self._circuits) >= MAX_CIRCUITS:
            raise LocalProtocolError("there are too many circuits on this link")
        while True:
            number = secrets.randbits(32) | CIRCUIT_ID_TOP_BIT
            if number not in self._circuits:
                break
        circuit = Circuit(self, number)
        self._circuits[number] = circuit
        return circuit

    def abort(self, detail: str) -> None:
        """Ends the link and its circuits at once."""
        self._fail(LinkClosed(detail))

    async def close(self) -> None:
        """Destroys all circuits in an orderly way and ends the link."""
        for circuit in list(self._circuits.values()):
            circuit.close()
        self._flush()
        self._finish(LinkClosed("the link was closed here"))
        if self._tls is not None:
            self._tls.close()

    # -- CircuitLink

    @property
    def blocked(self) -> bool:
        return not self._can_write.is_set()

    def send(self, data: bytes, *, patient: bool = False) -> None:
        """Queues whole cells; they leave at the end of the current turn of the loop.

        `patient` cells (acknowledgements) wait a little for others to leave with; where cells gather
        before they are read, they have.
        """
        self._outgoing.append(data)
        self._queued += len(data)
        if self._queued >= QUEUE_BYTES:
            self._flush()
        elif (not patient or self._gathering is not None) and not self._urgent:
            self._urgent = True
            self._cancel_flush()
            self._flush_timer = self._loop.call_soon(self._flush)
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(PATIENCE_SECONDS, self._flush)

    def release(self, circuit_id: int) -> None:
        self._circuits.pop(circuit_id, None)

    async def writable(self) -> None:
        await self._can_write.wait()

    def _flush(self) -> None:
        self._cancel_flush()
        self._urgent = False
        if self._outgoing and self._tls is not None and not self._tls.is_closing:
            data = b"".join(self._outgoing)
            self.bytes_out += len(data)
            self._padding.traffic(self._loop.time())
            self._tls.write(data)
        self._outgoing.clear()
        self._queued = 0

    def _cancel_flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    # -- TlsUser

    def secured(self) -> None:
        assert self._tls is not None
        self._handshake = LinkHandshake(
            self._tls.peer, self._tls.certificate, self._now, self._expected
        )
        self.send(self._handshake.start())

    def received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        now = self._loop.time()
        self._padding.traffic(now)
        if self._crowding.read(now):
            self._gather()
        try:
            for cell in self._reader.feed(data):
                self._receive(cell)
        except RemoteProtocolError as fault:
            self._fail(fault)

    def lost(self) -> None:
        self._finish(LinkClosed("the relay closed the link"))

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    # -- inside

    def _receive(self, cell: Cell | RelayRun) -> None:
        assert self._handshake is not None
        if not self._handshake.established:
            self.send(self._handshake.receive(cell))
            if self._handshake.established:
                self._plan_padding()
                self._ready.set_result(None)
            return
        circuit = self._circuits.get(cell.circuit)
        if isinstance(cell, RelayRun):
            if circuit is not None:
                circuit.receive_run(cell.bodies)
        elif cell.command in _CIRCUIT_CELLS:
            if circuit is not None:
                circuit.receive_cell(cell.command, cell.body)
        elif cell.command not in _HARMLESS:
            raise RemoteProtocolError(f"the relay sent cell {cell.command} to a client")

    def _gather(self) -> None:
        if self._tls is not None and self._gathering is None:
            self._tls.pause_reading()
            self._gathering = self._loop.call_later(GATHER_SECONDS, self._read_on)

    def _read_on(self) -> None:
        """Stays paused for as long as the crowd does."""
        self._gathering = None
        if self._tls is not None and not (self._tls.read_paused() and self._gathering):
            self._tls.resume_reading()

    def _plan_padding(self) -> None:
        if self._padding.enabled and not self.closed.done():
            delay = max(self._padding.due_in(self._loop.time()), 0.01)
            self._padding_timer = self._loop.call_later(delay, self._pad)

    def _pad(self) -> None:
        now = self._loop.time()
        if self._padding.due_in(now) <= 0:
            self._padding.sent(now)
            self.send(cells.pack(0, Command.PADDING))
        self._plan_padding()

    def _fail(self, why: LinkClosed | RemoteProtocolError) -> None:
        if not self._ready.done():
            self._ready.set_exception(why)
        self._finish(why if isinstance(why, LinkClosed) else LinkClosed(why.detail))
        if self._tls is not None:
            self._tls.abort()

    def _finish(self, why: LinkClosed) -> None:
        if self.closed.done():
            return
        self.closed.set_result(why)
        if not self._ready.done():
            self._ready.set_exception(why)
        if self._padding_timer is not None:
            self._padding_timer.cancel()
        if self._gathering is not None:
            self._gathering.cancel()
        self._cancel_flush()
        for circuit in list(self._circuits.values()):
            circuit.link_lost(why.detail)
        self._can_write.set()
