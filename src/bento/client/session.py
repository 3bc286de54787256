"""One invocation as its client sees it: send input, iterate over the answer, detach, go on later.

A connection that breaks is made anew by itself, as long as there is a `Comeback`; both streams go on
where they were, as each side keeps what the other has not acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.client.persistence import LOST, Broken, Tries
from bento.errors import KINDS, BentoError, BoxError, FunctionError, RemoteProtocolError, TorError
from bento.protocol import limits
from bento.protocol.session import (
    Ack,
    Attach,
    Attached,
    Bye,
    Data,
    End,
    Eof,
    Failed,
    Granted,
    Loaded,
    Loading,
    Log,
    client_reader,
)
from bento.protocol.streams import Incoming, Outgoing
from bento.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bento.client.door import Pipe
    from bento.protocol.ticket import SessionTicket
    from bento.protocol.wire import Message

_READ = 1 << 18
_FAREWELL_SECONDS = 10  # one round trip, even of a very slow circuit
_GOES_ON = "the function goes on: attach to the session"


def proof(owner: bytes) -> bytes:
    """What shows the guest its owner. Others send random bytes: no message tells who installed it."""
    return secrets.token_bytes(limits.OWNER) if owner == bytes(limits.OWNER) else owner


def failure(message: Failed) -> Exception:
    """The guest's refusal as an exception; a traceback it carries goes along."""
    error = KINDS.get(message.kind, RemoteProtocolError)(message.detail, message.hint)
    if message.traceback:
        error.add_note(message.traceback)
    return error


@dataclass(frozen=True)
class Comeback:
    """How a session gets another connection.

    `begin` makes one on which the session is started (the same name again starts it once), `open` one
    to its instance with some first bytes. Both raise what `persistence.LOST` lists when that fails."""

    begin: Callable[[], Awaitable[Pipe]]
    open: Callable[[bytes], Awaitable[Pipe]]
    tries: Tries


class Session:
    """The stream of one invocation. Iterate over it for the answer.

    `name` is what `bento attach` takes. Iteration raises FunctionError when `main` raised (its
    traceback is in the error's notes if this client installed the function), BoxError or TorError when
    the connection broke and could not be made again (the session itself goes on: attach to it),
    BoxError when the instance has ended."""

    def __init__(
        self,
        pipe: Pipe,
        name: SessionTicket,
        *,
        fresh: bool,
        on_log: Callable[[str], None] | None = None,
        on_grant: Callable[[bytes], None] | None = None,
        comeback: Comeback | None = None,
    ) -> None:
        self.name = name
        self._settled = fresh  # both sides know at which offsets the streams go on
        self._known = fresh  # we do, should the connection break
        self._comeback = comeback
        self._started = False
        self._pipe = pipe
        self._on_log = on_log
        self._on_grant = on_grant
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._pieces: deque[bytes] = deque()
        self._taken = 0  # bytes handed to whoever iterates
        self._consumed = 0  # of these, those it was done with when it asked for more
        self._end: End | None = None
        self._error: Exception | None = None
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    async def started(self) -> None:
        """Waits until the guest has the session: from here it goes on without this client."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._started or self._over)
        if self._error is not None:
            raise self._error

    # -- input -----------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Sends input; waits while the function does not take what it was sent."""
        view = memoryview(data)
        while view:
            async with self._changed:
                await self._changed.wait_for(self._may_send)
                if self._over:
                    raise self._error or BoxError("the function ended before it took all its input")
                piece = bytes(view[: min(limits.CHUNK, self._outgoing.space)])
                self._outgoing.write(piece)
            view = view[len(piece) :]
            self._flush()
            await self._drain()

    def send_now(self, data: bytes) -> bool:
        """Sends at most limits.CHUNK bytes of input at once, in one message; False, and nothing is sent,
        while that cannot be: the connection is away, or the function did not take enough of it."""
        if self._over or not self._settled or self._outgoing.space < len(data):
            return False
        self._outgoing.write(data)
        self._flush()
        return True

    async def close_input(self) -> None:
        """No more input follows."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._settled or self._over)
        if not self._outgoing.closed:
            self._outgoing.close()
            if self._settled:
                self._write(Eof(self._outgoing.end))
            await self._drain()

    # -- the answer ------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer()

    async def read(self) -> bytes:
        """The whole answer. Only for answers that fit in memory."""
        return b"".join([piece async for piece in self])

    @property
    def received(self) -> int:
        """Bytes of the answer taken so far, counted from the session's first."""
        return self._consumed

    async def _answer(self) -> AsyncIterator[bytes]:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._pieces or self._over)
            if self._pieces:
                piece = self._pieces.popleft()
                self._taken += len(piece)
                yield piece
                self._consumed += len(piece)
                due = self._incoming.due(self._consumed) if self._settled else None
                if due is not None:
                    self._write(Ack(due))
                continue
            if self._error is not None:
                raise self._error
            assert self._end is not None
            await self._say_goodbye()
            if self._end.failed:
                error = FunctionError(self._end.detail, "it is the function's own failure")
                if self._end.traceback:
                    error.add_note(self._end.traceback)
                raise error
            return

    async def _say_goodbye(self) -> None:
        """The guest may forget the session. It closes when it has heard so: leaving earlier could
        take the circuit away under the message."""
        self._write(Ack(self._consumed))
        self._write(Bye())
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                while await self._pipe.reader.read(_READ):
                    pass
        except (TimeoutError, OSError):
            pass  # it will forget the session when the instance ends
        await self.detach()

    async def detach(self) -> None:
        """Leaves; the function goes on and its answer is kept (up to the spool) for `attach`."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._pipe.writer.close()

    # -- the connection --------------------------------------------------------------------------

    def _may_send(self) -> bool:
        return self._over or (self._settled and self._outgoing.space > 0)

    @property
    def _over(self) -> bool:
        return self._end is not None or self._error is not None

    def _write(self, message: Message) -> None:
        self._pipe.writer.write(encode(message))

    def _flush(self) -> None:
        while (piece := self._outgoing.take()) is not None:
            self._write(Data(*piece))

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):  # the reading task hears of it too
            await self._pipe.writer.drain()

    async def _read(self) -> None:
        try:
            await self._receive()
            while self._end is None:
                await self._receive()
        except Exception as error:
            self._error = error
        await self._notify()

    async def _receive(self) -> None:
        """Takes what comes until the answer's end, or until there is another connection."""
        frames = client_reader()
        data = self._pipe.early
        try:
            while True:
                for message in frames.feed(data):
                    self._handle(message)
                await self._notify()
                if self._end is not None:
                    return
                data = await self._pipe.reader.read(_READ)
                if not data:
                    raise Broken(
                        "the connection to the box broke before the answer's end", _GOES_ON
                    )
        except LOST as error:
            await self._come_back(error)

    async def _come_back(self, error: Exception) -> None:
        self._pipe.writer.close()
        self._settled = False
        while True:
            await self._wait_to_try(error)
            try:
                self._pipe = await self._another()
            except LOST as again:
                error = again
            except BoxError as refusal:
                what = f"the connection to the box broke and has no successor: {refusal.detail}"
                raise BoxError(what, refusal.hint) from error
            else:
                return

    async def _wait_to_try(self, error: Exception) -> None:
        """Raises what the user is to know when there is no further try."""
        try:
            if self._comeback is None:
                raise error
            await self._comeback.tries.again(error)
        except BentoError as lost:
            kind = TorError if isinstance(lost, TorError) else BoxError
            raise kind(lost.detail, _GOES_ON if self._started else lost.hint) from error
        except OSError:
            raise BoxError("the connection to the box broke", _GOES_ON) from error

    async def _another(self) -> Pipe:
        assert self._comeback is not None
        if not self._started:
            return await self._comeback.begin()
        # What nobody took yet is asked for again: so the window bounds what is held here.
        self._pieces.clear()
        self._incoming.resume(self._taken)
        attach = Attach(self.name.session, self._taken, proof(self.name.owner))
        return await self._comeback.open(encode(attach))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Data | Ack) and self._comeback is not None:
            self._comeback.tries.moved()
        if isinstance(message, Data):
            data = self._incoming.accept(message.offset, message.data)
            if self._incoming.received - self._consumed > limits.WINDOW_MAX:
                raise RemoteProtocolError("the guest sends more than its window")
            if data:
                self._pieces.append(data)
        elif isinstance(message, Ack):
            self._outgoing.acknowledge(message.offset)
        elif isinstance(message, Attached):
            self._attached(message)
        elif isinstance(message, Log):
            if self._on_log is not None:
                self._on_log(message.line)
        elif isinstance(message, Granted):
            if self._on_grant is not None:
                self._on_grant(message.token)
        elif isinstance(message, End):
            self._incoming.finish(message.offset)
            self._end = message
        elif isinstance(message, Failed):
            raise failure(message)
        elif not isinstance(message, Loading | Loaded):
            raise RemoteProtocolError("a guest sends no input")

    def _attached(self, message: Attached) -> None:
        self._started = True
        if self._comeback is not None:
            self._comeback.tries.up()
        if self._settled:
            return
        if not self._known:
            self._outgoing = Outgoing.at(message.received)
            self._incoming = Incoming.at(message.offset)
            self._taken = self._consumed = message.offset
            self._known = True
        elif message.offset != self._taken:
            raise RemoteProtocolError("the answer goes on at another place than was asked for")
        else:
            if message.received > self._outgoing.acknowledged and self._comeback is not None:
                self._comeback.tries.moved()
            self._outgoing.resume(message.received)
        self._settled = True
        self._flush()
        if self._outgoing.closed:
            self._write(Eof(self._outgoing.end))
