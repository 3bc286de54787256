"""One invocation as its client sees it: send input, iterate over the answer, detach, go on later."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from bento.errors import KINDS, BoxError, FunctionError, RemoteProtocolError
from bento.protocol import limits
from bento.protocol.session import (
    Ack,
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
    from collections.abc import AsyncIterator, Callable

    from bento.client.door import Pipe
    from bento.protocol.ticket import SessionTicket
    from bento.protocol.wire import Message

_READ = 1 << 18
_FAREWELL_SECONDS = 10  # one round trip, even of a very slow circuit


def failure(message: Failed) -> Exception:
    """The guest's refusal as an exception; a traceback it carries goes along."""
    error = KINDS.get(message.kind, RemoteProtocolError)(message.detail, message.hint)
    if message.traceback:
        error.add_note(message.traceback)
    return error


class Session:
    """The stream of one invocation over one connection. Iterate over it for the answer.

    `name` is what `bento attach` takes. Iteration raises FunctionError when `main` raised (its
    traceback is in the error's notes if this client installed the function), BoxError when the
    connection broke (the session itself goes on: attach to it)."""

    def __init__(
        self,
        pipe: Pipe,
        name: SessionTicket,
        *,
        fresh: bool,
        on_log: Callable[[str], None] | None = None,
        on_grant: Callable[[bytes], None] | None = None,
    ) -> None:
        self.name = name
        self._settled = fresh  # both sides know at which offsets the streams go on
        self._started = False
        self._pipe = pipe
        self._on_log = on_log
        self._on_grant = on_grant
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._pieces: deque[bytes] = deque()
        self._consumed = 0
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

    async def close_input(self) -> None:
        """No more input follows."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._settled or self._over)
        if not self._outgoing.closed:
            self._outgoing.close()
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
                yield piece
                self._consumed += len(piece)
                due = self._incoming.due(self._consumed)
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
        try:
            await self._pipe.writer.drain()
        except OSError as error:
            raise BoxError("the connection to the box broke", "attach to the session") from error

    async def _read(self) -> None:
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
                    raise BoxError(
                        "the connection to the box broke before the answer's end",
                        "the function goes on: attach to the session",
                    )
        except OSError:
            self._error = BoxError("the connection to the box broke", "attach to the session")
        except Exception as error:
            self._error = error
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Data):
            data = self._incoming.accept(message.offset, message.data)
            if self._incoming.received - self._consumed > limits.WINDOW_MAX:
                raise RemoteProtocolError("the guest sends more than its window")
            if data:
                self._pieces.append(data)
        elif isinstance(message, Ack):
            self._outgoing.acknowledge(message.offset)
        elif isinstance(message, Attached):
            self._started = True
            if not self._settled:
                self._outgoing = Outgoing.at(message.received)
                self._incoming = Incoming.at(message.offset)
                self._consumed = message.offset
                self._settled = True
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
