"""A circuit: hops made one after the other, messages and streams over the last of them.

    BUILDING -- create, extend --> OPEN -- DESTROY, TRUNCATED, link lost, fault, close --> CLOSED

The circuit talks to a `CircuitLink` only (a `channel.Channel`, or a test's playbook).

Invariants: any forbidden message closes the circuit with DESTROY; when it closes, everybody who
waits on it is told why, exactly once; at most eight cells are RELAY_EARLY, and none may come back.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import cells, linkspec, ntor3, relay
from bento.onion.cells import BODY_BYTES, Command, DestroyReason
from bento.onion.congestion import Vegas, VegasParams
from bento.onion.errors import CircuitClosed
from bento.onion.keys import HopKeys
from bento.onion.layers import Hop, Layers
from bento.onion.linkspec import Target
from bento.onion.ntor import NtorClient
from bento.onion.ntor3 import Ntor3Client
from bento.onion.relay import Answer, EndReason, RelayCommand, RelayMessage
from bento.onion.stream import IncomingStream, Stream, StreamState
from bento.onion.window import SendWindow

BUILD_SECONDS = 60.0  # C-tor's upper limit for one circuit
REQUEST_SECONDS = 60.0
MAX_RELAY_EARLY = 8  # tor-spec 5.6
MAX_INCOMING_STREAMS = 512  # on one rendezvous circuit; C-tor has no limit of its own
MAX_KEPT_STREAMS = 1024  # beyond so many, those that only the other side could end are forgotten
_STREAM_NUMBERS = 0xFFFF

Handshake = NtorClient | Ntor3Client
_T = TypeVar("_T")


class CircuitLink(Protocol):
    """What a circuit needs of the connection to its first hop."""

    @property
    def blocked(self) -> bool: ...
    def send(self, data: bytes, *, patient: bool = False) -> None: ...
    def release(self, circuit_id: int) -> None: ...
    async def writable(self) -> None: ...


class Circuit:
    """One circuit on one link. Build it with `create` and `extend`, or all at once with `build`."""

    def __init__(self, link: CircuitLink, circuit_id: int) -> None:
        loop = asyncio.get_running_loop()
        self.id = circuit_id
        self.path: list[Target] = []
        self.closed: asyncio.Future[CircuitClosed] = loop.create_future()
        self.on_begin: Callable[[IncomingStream], None] | None = None
        self.on_message: dict[int, Callable[[bytes], None]] = {}
        self._clock = loop.time
        self._link = link
        self._layers = Layers()
        self._streams: dict[int, Stream] = {}
        self._next_stream = random.randrange(1, _STREAM_NUMBERS)  # noqa: S311
        self._created: asyncio.Future[bytes] | None = None
        self._waiting: dict[int, deque[asyncio.Future[bytes]]] = defaultdict(deque)
        self._resolving: dict[int, asyncio.Future[bytes]] = {}
        self._room = asyncio.Event()
        self._early_left = MAX_RELAY_EARLY
        self._allowance: int | None = None

    # -- building

    async def build(self, path: Sequence[Target], congestion: VegasParams | None = None) -> Circuit:
        """All hops of `path`; `congestion` asks the last one for congestion control."""
        try:
            async with asyncio.timeout(BUILD_SECONDS):
                for number, target in enumerate(path):
                    wanted = congestion if number == len(path) - 1 else None
                    await (self.extend if number else self.create)(target, wanted)
        except TimeoutError as error:
            self.close(DestroyReason.TIMEOUT)
            raise self.closed.result() from error
        except BaseException:
            self.close(DestroyReason.REQUESTED)
            raise
        return self

    async def create(self, target: Target, congestion: VegasParams | None = None) -> None:
        """The first hop. RemoteProtocolError or CircuitClosed when it fails."""
        self._check_open()
        handshake = _handshake(target, congestion)
        self._created = asyncio.get_running_loop().create_future()
        body = relay.pack_create2(handshake.handshake_type, handshake.request)
        self._link.send(cells.pack(self.id, Command.CREATE2, body))
        self._add_relay(target, handshake, await self._created, congestion)

    async def extend(self, target: Target, congestion: VegasParams | None = None) -> None:
        """One more hop, through all the others."""
        handshake = _handshake(target, congestion)
        data = linkspec.pack(target.specifiers) + relay.pack_create2(
            handshake.handshake_type, handshake.request
        )
        reply = await self.request(RelayCommand.EXTEND2, data, RelayCommand.EXTENDED2)
        self._add_relay(target, handshake, reply, congestion)

    def _add_relay(
        self, target: Target, handshake: Handshake, reply: bytes, congestion: VegasParams | None
    ) -> None:
        try:
            keys = handshake.finish(relay.parse_created2(reply).handshake)
            window = _agreed_window(handshake, congestion)
        except RemoteProtocolError:
            self.close(DestroyReason.PROTOCOL)
            raise
        self.path.append(target)
        self.add_hop(keys, window)

    def add_hop(self, keys: HopKeys, window: SendWindow | None = None) -> None:
        """A hop whose keys were agreed elsewhere: the other end of a rendezvous."""
        self._layers.hops.append(Hop(keys, window))
        self._room.set()

    @property
    def last_hop(self) -> int:
        return len(self._layers.hops) - 1

    @property
    def nonce(self) -> bytes:
        """KH of the last hop (tor-spec 5.2.2)."""
        return self._layers.hops[-1].nonce

    @property
    def streams(self) -> int:
        """Streams that are not over."""
        over = (StreamState.HALF_CLOSED, StreamState.CLOSED)
        return sum(stream.state not in over for stream in self._streams.values())

    # -- messages

    def send_message(self, message: RelayMessage, hop: int | None = None) -> None:
        """Seals and sends one message; not for DATA, which has windows."""
        self._check_open()
        command = Command.RELAY
        if message.command == RelayCommand.EXTEND2:
            if not self._early_left:
                raise LocalProtocolError("a circuit can be extended eight times only")
            self._early_left -= 1
            command = Command.RELAY_EARLY
        body = self._layers.seal(message, self.last_hop if hop is None else hop)
        self._spend(1)
        acknowledges = message.command == RelayCommand.SENDME
        self._link.send(cells.pack(self.id, command, body), patient=acknowledges)

    def drop(self, hop: int) -> None:
        """Cover: a cell that hop number `hop` throws away (tor-spec 7.1)."""
        self.send_message(relay.circuit_message(RelayCommand.DROP), hop)

    async def request(
        self, command: int, data: bytes, reply: int, seconds: float = REQUEST_SECONDS
    ) -> bytes:
        """Sends a message to the last hop and waits for its answer of kind `reply`."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[reply].append(answer)
        try:
            self.send_message(relay.circuit_message(command, data))
            return await _in_time(answer, seconds)
        finally:
            if answer in self._waiting[reply]:
                self._waiting[reply].remove(answer)

    # -- streams

    async def open_stream(self, host: str, port: int, *, ipv6: bool = True) -> Stream:
        """A stream from the last hop to `host:port`; StreamEnded when it refuses."""
        stream = self.begin(host, port, ipv6=ipv6)
        await self._connected(stream)
        return stream

    def begin(self, host: str, port: int, *, ipv6: bool = True) -> Stream:
        """Like `open_stream` without waiting: data may be written at once, optimistically."""
        return self._begin(RelayCommand.BEGIN, relay.pack_begin(host, port, int(ipv6)))

    async def open_directory(self) -> Stream:
        """A stream to the last hop's own directory server."""
        stream = self._begin(RelayCommand.BEGIN_DIR, b"")
        await self._connected(stream)
        return stream

    async def resolve(self, name: str) -> list[Answer]:
        """Looks a name (or an address, backwards) up at the last hop."""
        number = self._free_number()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._resolving[number] = answer
        try:
            self.send_message(
                RelayMessage(RelayCommand.RESOLVE, number, relay.ascii_name(name) + b"\0")
            )
            return relay.parse_resolved(await _in_time(answer, REQUEST_SECONDS))
        finally:
            self._resolving.pop(number, None)

    def _begin(self, command: int, data: bytes) -> Stream:
        self._check_open()
        stream = self._new_stream(self._free_number())
        self.send_message(RelayMessage(command, stream.number, data))
        return stream

    async def _connected(self, stream: Stream) -> None:
        try:
            await _in_time(asyncio.shield(stream.connected), REQUEST_SECONDS)
        except BaseException:
            stream.close(EndReason.TIMEOUT)
            raise

    def _new_stream(self, number: int) -> Stream:
        if len(self._streams) >= MAX_KEPT_STREAMS:
            self._forget_half_closed()
        windowed = not isinstance(self._layers.hops[-1].window, Vegas)
        stream = Stream(self, number, self.last_hop, windowed=windowed)
        self._streams[number] = stream
        return stream

    def _forget_half_closed(self) -> None:
        """The eldest; what still comes for it is dropped, as for any number that nobody knows."""
        for number, stream in self._streams.items():
            if stream.state is StreamState.HALF_CLOSED:
                del self._streams[number]
                return

    def _free_number(self) -> int:
        for _ in range(_STREAM_NUMBERS):
            number = self._next_stream
            self._next_stream = number % _STREAM_NUMBERS + 1
            if number not in self._streams and number not in self._resolving:
                return number
        raise LocalProtocolError("all stream numbers of this circuit are in use")

    # -- StreamHost

    def now(self) -> float:
        return self._clock()

    def room(self, hop: int) -> int:
        if self._link.blocked:
            return 0
        room = self._layers.hops[hop].window.room
        return room if self._allowance is None else max(min(room, self._allowance), 0)

    async def wait_for_room(self, hop: int) -> None:
        if self._link.blocked:
            await self._link.writable()
        elif not self.room(hop):
            self._room.clear()
            await self._room.wait()

    # -- cover

    @property
    def allowance(self) -> int | None:
        """Cells that may be sent before the next `allow`; None: as many as windows let."""
        return self._allowance

    def allow(self, count: int | None) -> None:
        """Sets the allowance (see `cover`). Acknowledgements use it too, and may overdraw it."""
        self._allowance = count
        self._room.set()

    @property
    def blocked(self) -> bool:
        """Whether the link takes no more cells at the moment."""
        return self._link.blocked

    def _spend(self, count: int) -> None:
        if self._allowance is not None:
            self._allowance -= count

    def send_data(self, stream: Stream, data: memoryview, cells_left: int) -> tuple[int, int]:
        """Sends DATA cells; bytes and cells sent."""
        self._check_open()
        bodies, used = self._layers.seal_data(
            stream.number, data, cells_left, stream.hop, self._clock()
        )
        self._link.send(cells.pack_run(self.id, bodies))
        self._spend(len(bodies) // BODY_BYTES)
        return used, len(bodies) // BODY_BYTES

    def forget(self, stream: Stream) -> None:
        if self._streams.get(stream.number) is stream:
            del self._streams[stream.number]

    # -- from the link

    def receive_run(self, bodies: bytes) -> None:
        """RELAY cells that arrived together."""
        try:
            for opened in self._layers.open(bodies):
                if opened.acknowledge:
                    self._acknowledge(opened.acknowledge, opened.hop)
                self._dispatch(opened.messages, opened.hop)
                if self.closed.done():
                    return
        except RemoteProtocolError as fault:
            self.close(DestroyReason.PROTOCOL, fault.detail)

    def _acknowledge(self, digests: Sequence[bytes], hop: int) -> None:
        self._check_open()
        self._spend(len(digests))
        bodies = self._layers.seal_sendmes(digests, hop)
        self._link.send(cells.pack_run(self.id, bodies), patient=True)

    def receive_cell(self, command: int, body: bytes) -> None:
        """Any other cell of this circuit."""
        if command == Command.DESTROY:
            self._end(CircuitClosed(body[0], remote=True))
        elif command == Command.CREATED2 and self._created and not self._created.done():
            self._created.set_result(body)
        else:
            self.close(DestroyReason.PROTOCOL, f"cell {command} makes no sense on a circuit")

    def link_lost(self, detail: str) -> None:
        """The connection is gone."""
        self._end(CircuitClosed(DestroyReason.CHANNEL_CLOSED, remote=True, detail=detail))

    # -- the end

    def close(self, reason: int = DestroyReason.NONE, detail: str = "") -> None:
        """Sends DESTROY and ends everything on the circuit; harmless when it is over already."""
        if not self.closed.done():
            self._link.send(cells.pack(self.id, Command.DESTROY, bytes([reason])))
            self._end(CircuitClosed(reason, remote=False, detail=detail))

    def _end(self, why: CircuitClosed) -> None:
        if self.closed.done():
            return
        self.closed.set_result(why)
        self._link.release(self.id)
        for stream in list(self._streams.values()):
            stream.cut(why)
        self._streams.clear()
        waiting = [f for queue in self._waiting.values() for f in queue]
        for future in (*waiting, *self._resolving.values(), self._created):
            if future is not None and not future.done():
                future.set_exception(why)
                future.exception()
        self._room.set()

    def _check_open(self) -> None:
        if self.closed.done():
            raise self.closed.result()

    # -- messages from hops

    def _dispatch(self, messages: list[RelayMessage], hop: int) -> None:
        for message in messages:
            if message.stream:
                self._stream_message(message, hop)
            else:
                self._circuit_message(message.command, message.data, hop)
            if self.closed.done():
                return

    def _stream_message(self, message: RelayMessage, hop: int) -> None:
        if message.command == RelayCommand.BEGIN:
            self._incoming(message, hop)
        elif message.command == RelayCommand.RESOLVED:
            answer = self._resolving.get(message.stream)
            if answer is not None and not answer.done() and hop == self.last_hop:
                answer.set_result(message.data)
        elif stream := self._streams.get(message.stream):
            _check_hop(stream, hop)
            stream.receive(message)

    def _circuit_message(self, command: int, data: bytes, hop: int) -> None:
        if command == RelayCommand.SENDME:
            self._layers.hops[hop].acknowledged(data, self._clock(), blocked=self._link.blocked)
            self._room.set()
        elif command == RelayCommand.TRUNCATED:
            reason = data[0] if data else DestroyReason.NONE
            self.close(DestroyReason.REQUESTED, f"a relay cut the circuit: reason {reason}")
        elif command == RelayCommand.DATA:
            raise RemoteProtocolError("DATA names no stream")
        elif hop == self.last_hop:
            self._answer(command, data)

    def _answer(self, command: int, data: bytes) -> None:
        queue = self._waiting.get(command)
        while queue:
            future = queue.popleft()
            if not future.done():
                future.set_result(data)
                return
        if command in self.on_message:
            self.on_message[command](data)
        elif command in _ANSWERS:
            raise RemoteProtocolError(f"relay command {command} answers nothing we asked")

    def _incoming(self, message: RelayMessage, hop: int) -> None:
        """BEGIN is for onion services only, and only from the client behind the rendezvous."""
        if self.on_begin is None or hop != self.last_hop:
            return
        known = self._streams.get(message.stream)
        if known is not None and known.state is not StreamState.HALF_CLOSED:
            raise RemoteProtocolError("a BEGIN reuses the number of an open stream")
        begin = relay.parse_begin(message.data)
        incoming = IncomingStream(self._new_stream(message.stream), begin)
        if self.streams > MAX_INCOMING_STREAMS:
            incoming.refuse(EndReason.RESOURCELIMIT)
        else:
            self.on_begin(incoming)


# Answers that nobody may send unasked.
_ANSWERS = frozenset(
    {
        RelayCommand.EXTENDED2,
        RelayCommand.INTRO_ESTABLISHED,
        RelayCommand.RENDEZVOUS_ESTABLISHED,
        RelayCommand.RENDEZVOUS2,
        RelayCommand.INTRODUCE_ACK,
    }
)


async def _in_time(answer: Awaitable[_T], seconds: float) -> _T:
    """Waits so long; CircuitClosed with TIMEOUT when nothing came."""
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError as error:
        raise CircuitClosed(
            DestroyReason.TIMEOUT, remote=True, detail="a relay did not answer in time"
        ) from error


def _check_hop(stream: Stream, hop: int) -> None:
    if stream.hop != hop:
        raise RemoteProtocolError("a hop on the way speaks for a stream of another hop")


def _handshake(target: Target, congestion: VegasParams | None) -> Handshake:
    if congestion is None:
        return NtorClient(target.identity.rsa, target.onion_key)
    wish = ntor3.pack_extensions({ntor3.EXTENSION_CC_REQUEST: b""})
    return Ntor3Client(target.identity.ed25519, target.onion_key, wish)


def _agreed_window(handshake: Handshake, congestion: VegasParams | None) -> SendWindow | None:
    """Vegas when the relay agreed to it, else the fixed window."""
    if congestion is None or isinstance(handshake, NtorClient):
        return None
    said = ntor3.parse_extensions(handshake.answer).get(ntor3.EXTENSION_CC_RESPONSE)
    if said is None:
        return None
    if len(said) != 1 or not congestion.accepts_increment(said[0]):
        raise RemoteProtocolError("the relay wants to acknowledge at an unheard-of pace")
    return Vegas(congestion, said[0])
