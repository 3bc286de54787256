"""One call of a function on another box, as the calling function sees it: send, receive, until its end.

A connection that breaks is made anew by itself for a while, and both streams go on where they were
(`protocol.streams`). One thread reads; it stops reading while nobody takes what came, so an answer of any
size needs bounded memory here.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque

from bento.errors import KINDS, BentoError, BoxError, FunctionError, RemoteProtocolError
from bento.guest.knock import Broken
from bento.protocol import limits
from bento.protocol.padding import CALL_CLASS, fill
from bento.protocol.session import (
    Ack,
    Attach,
    Attached,
    Bye,
    Data,
    End,
    Eof,
    Failed,
    Invoke,
    Loaded,
    Loading,
    Log,
    client_reader,
)
from bento.protocol.streams import Incoming, Outgoing
from bento.protocol.values import encode_values
from bento.protocol.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from bento.guest.knock import Pipe
    from bento.protocol.wire import Message

_READ = 1 << 18
_PERSISTENCE = 60.0  # seconds without any progress after which a broken way is given up
_FIRST, _LONGEST = 0.1, 5.0  # seconds between two tries
_FAREWELL = 10.0  # seconds for the last word to arrive: one round trip of a slow circuit
_WHOLE = 16 * limits.MIB


class Call:
    """`open_` makes a connection for the session of a name, on which some first bytes were sent."""

    def __init__(
        self,
        open_: Callable[[bytes, bytes], Pipe],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        owner: bytes,
    ) -> None:
        self._open = open_
        self._name = secrets.token_bytes(limits.SESSION_ID)
        self._owner = owner
        arguments = encode_values([list(args), kwargs])
        self._invoke = encode(Invoke(self._name, arguments, False, owner))
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._pieces: deque[bytes] = deque()
        self._held = 0  # bytes in them
        self._taken = 0  # bytes handed to the function
        self._started = False
        self._settled = True  # both sides know at which offsets the streams go on
        self._end: End | None = None
        self._error: Exception | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._writing = threading.RLock()
        self._pipe = self._connect(self._invoke)
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the function's threads ------------------------------------------------------------------

    def send(self, data: bytes | str) -> None:
        """Sends input; waits while the other function does not take what it was sent."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        while view:
            with self._changed:
                self._changed.wait_for(self._may_send)
                if self._over:
                    raise self._error or BoxError("the function ended before it took all its input")
                piece = bytes(view[: min(limits.CHUNK, self._outgoing.space)])
                self._outgoing.write(piece)
            view = view[len(piece) :]
            self._flush()

    def close_input(self) -> None:
        """No more input follows."""
        with self._changed:
            self._outgoing.close()
            settled = self._settled
        if settled:
            self._write(Eof(self._outgoing.end))

    def recv(self, timeout: float | None = None) -> bytes:
        """The next piece of the answer; b"" at its end. Raises FunctionError when the other function
        failed, BoxError when it ended or its box is out of reach, TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._pieces or self._over, timeout):
                raise TimeoutError("no answer within the time given")
            if not self._pieces:
                return self._last_word()
            piece = self._pieces.popleft()
            self._held -= len(piece)
            self._taken += len(piece)
            due = self._incoming.due(self._taken) if self._settled else None
            self._changed.notify_all()
        if due is not None:
            self._write(Ack(due))
        return piece

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of the answer until its end."""
        while piece := self.recv():
            yield piece

    def read(self, most: int = _WHOLE) -> bytes:
        """The whole answer. Raises BoxError when it has more than `most` bytes."""
        whole = bytearray()
        for piece in self:
            whole += piece
            if len(whole) > most:
                self.close()
                raise BoxError(f"the answer has more than {most} bytes", "take it in pieces")
        return bytes(whole)

    def close(self) -> None:
        """Leaves. The other function goes on, if it has not ended, and nobody hears it."""
        with self._changed:
            finished = self._end is not None and not self._pieces
            self._closed = True
            self._changed.notify_all()
        if not finished:
            self._pipe.close()

    # -- both --------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._closed or self._end is not None or self._error is not None

    def _may_send(self) -> bool:
        return self._over or (self._settled and self._outgoing.space > 0)

    def _last_word(self) -> bytes:
        if self._error is not None:
            raise self._error
        if self._end is None:
            raise BoxError("the call was closed")
        if self._end.failed:
            error = FunctionError(self._end.detail, "it is the other function's own failure")
            if self._end.traceback:
                error.add_note(self._end.traceback)
            raise error
        return b""

    def _connect(self, first: bytes) -> Pipe:
        return self._open(self._name, first + fill(len(first), CALL_CLASS))

    def _flush(self) -> None:
        with self._writing:  # or two threads could send their pieces in another order
            while True:
                with self._changed:
                    piece = self._outgoing.take() if self._settled else None
                if piece is None:
                    return
                self._write(Data(*piece))

    def _write(self, message: Message) -> None:
        """What does not get through is sent again on the next connection."""
        with self._writing:
            try:
                self._pipe.sock.sendall(encode(message))
            except OSError:
                pass  # the reading thread hears of it too

    # -- the reading thread ------------------------------------------------------------------

    def _run(self) -> None:
        pause, since = _FIRST, time.monotonic()
        while not self._over:
            before = self._progress
            try:
                self._receive()
            except (OSError, Broken):
                if self._progress != before:
                    pause, since = _FIRST, time.monotonic()
                if time.monotonic() - since > _PERSISTENCE:
                    self._fail(BoxError("the way to the other box broke", "call again"))
                elif not self._closed:
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST)
                    self._come_back()
            except (
                Exception
            ) as error:  # the far side's fault, to be told where the answer is awaited
                self._fail(error)
        if self._end is not None:
            self._say_goodbye()
        self._pipe.close()

    @property
    def _progress(self) -> tuple[int, int]:
        return self._incoming.received, self._outgoing.acknowledged

    def _receive(self) -> None:
        reader, data = client_reader(), self._pipe.early
        while True:
            with self._changed:
                for message in reader.feed(data):
                    self._handle(message)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._held < limits.WINDOW or self._over)
                if self._over:
                    return
            if not (data := self._pipe.sock.recv(_READ)):
                raise Broken("the connection to the other box broke")

    def _come_back(self) -> None:
        """Another connection, if there is one now; the next turn of the loop looks."""
        self._pipe.close()
        with self._changed:
            self._settled = False
            first = self._invoke
            if self._started:  # what nobody took yet is asked for again
                self._pieces.clear()
                self._held = 0
                self._incoming.resume(self._taken)
                first = encode(Attach(self._name, self._taken, self._owner))
        try:
            self._pipe = self._connect(first)
        except (OSError, Broken):
            pass
        except BentoError as error:
            self._fail(BoxError(f"the call cannot go on: {error.detail}", error.hint))

    def _handle(self, message: Message) -> None:
        if isinstance(message, Data):
            data = self._incoming.accept(message.offset, message.data)
            if data:
                self._pieces.append(data)
                self._held += len(data)
        elif isinstance(message, Ack):
            self._outgoing.acknowledge(message.offset)
        elif isinstance(message, Attached):
            self._attached(message)
        elif isinstance(message, End):
            self._incoming.finish(message.offset)
            self._end = message
        elif isinstance(message, Failed):
            raise KINDS.get(message.kind, RemoteProtocolError)(message.detail, message.hint)
        elif not isinstance(message, Log | Loaded | Loading):
            raise RemoteProtocolError("a guest sends no input")

    def _attached(self, message: Attached) -> None:
        self._started = True
        if self._settled:
            return
        if message.offset != self._taken:
            raise RemoteProtocolError("the answer goes on at another place than was asked for")
        self._outgoing.resume(message.received)
        self._settled = True
        threading.Thread(target=self._send_again, daemon=True).start()

    def _send_again(self) -> None:
        self._flush()
        if self._outgoing.closed:
            self._write(Eof(self._outgoing.end))

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _say_goodbye(self) -> None:
        """The other guest may forget the session, once the function has taken everything."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pieces or self._closed)
            if self._pieces:
                return
        self._write(Ack(self._taken))
        self._write(Bye())
        try:
            self._pipe.sock.settimeout(_FAREWELL)
            while self._pipe.sock.recv(_READ):
                pass
        except OSError:
            pass  # it will forget the session when the instance ends
