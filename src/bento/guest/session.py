"""One invocation: `main` on a thread of its own, its input and its spooled answer.

The session belongs to the instance, not to a connection: connections come and go, `client` is the
present one or None. Everything below is guarded by one lock; the loop thread moves bytes between the
streams and the socket, the function's threads call `write`, `read` and `poll`.
"""

from __future__ import annotations

from _thread import allocate_lock

from bento.errors import RemoteProtocolError
from bento.guest.spools import Share, Spools
from bento.guest.sync import Signal, wait_until
from bento.protocol import limits
from bento.protocol.session import ANYWHERE, Ack, Attached, Data, End, Eof
from bento.protocol.streams import Incoming, Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from bento.protocol.wire import Message

    class Client(Protocol):
        """The connection a session is attached to."""

        owner: bool

        def send_log(self, line: str) -> None: ...


class Session:
    """`wake` asks the loop to look at this session, `end` ends the instance; both from any thread."""

    def __init__(
        self,
        name: bytes,
        spool: int,
        spools: Spools,
        inputs: Spools,
        wake: Callable[[], None],
        end: Callable[[], None],
        counted: bool = False,
    ) -> None:
        self.name = name
        self.end = end
        self.counted = counted
        self.client: Client | None = None
        self._wake = wake
        self._lock = allocate_lock()
        self._outgoing = Outgoing(spool)
        self._incoming = Incoming()
        self._input: list[bytes] = []
        self._consumed = 0
        self._readable = Signal()
        self._writable = Signal()
        self._share = Share(spools, self._writable)
        self._input_share = Share(inputs, self._readable)
        self._missed = False  # whether input was dropped, to be sent again on another connection
        self._end: End | None = None
        self._end_sent = False

    # -- the function's threads ------------------------------------------------------------------

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Appends to the answer; waits while the spool is full, or all spools together are, and nobody
        fetches it. TimeoutError when nobody did for `timeout` seconds."""
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            if not wait_until(self._writable, self._has_room, timeout):
                raise TimeoutError("the answer is not fetched")
            with self._lock:
                piece = bytes(view[at : at + self._room(limits.CHUNK)])
                self._outgoing.write(piece)
                self._share.keeps(self._outgoing.kept)
            at += len(piece)
            self._wake()

    def _has_room(self) -> bool:
        with self._lock:
            return self._room(1) > 0

    def _room(self, wanted: int) -> int:
        """How many of so many bytes the answer may grow by now. Under the lock."""
        outgoing = self._outgoing
        return self._share.room(outgoing.kept, min(wanted, outgoing.space))

    def read(self, size: int | None, timeout: float | None) -> bytes:
        """The next input bytes, at most `size`; b"" at the end of the input. TimeoutError otherwise."""
        if not self.poll(timeout):
            raise TimeoutError("no input within the time given")
        with self._lock:
            if not self._input:
                return b""
            data = self._input.pop(0)
            if size is not None and len(data) > size:
                self._input.insert(0, data[size:])
                data = data[:size]
            self._consumed += len(data)
            self._input_share.keeps(self._unread)
        self._wake()
        return data

    def poll(self, timeout: float | None) -> bool:
        """Whether `read` would return at once, waiting up to `timeout` seconds for it."""
        return wait_until(
            self._readable, lambda: bool(self._input) or self._incoming.closed, timeout
        )

    def log(self, line: str) -> None:
        """A line for the owner, dropped when no owner is attached."""
        client = self.client
        if client is not None and client.owner:
            client.send_log(line)

    def finish(self, failed: bool, detail: str = "", traceback: str = "") -> None:
        """`main` is over; what it sent stays until the client says Bye."""
        with self._lock:
            self._outgoing.close()
            self._end = End(
                self._outgoing.end,
                failed,
                detail.encode()[: limits.DETAIL].decode(errors="ignore"),
                traceback.encode()[-limits.TRACEBACK :].decode(errors="ignore"),
            )
        self._wake()

    # -- the loop --------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self._end is not None

    @property
    def starved(self) -> bool:
        """Whether the function has read all that there is of its input, and its client must send again what
        was dropped."""
        return self._missed and not self._input

    @property
    def _unread(self) -> int:
        return self._incoming.received - self._consumed

    def attach(self, client: Client, received: int) -> Attached:
        """`client` is the connection from now on and has `received` bytes of the answer."""
        with self._lock:
            if received == ANYWHERE:
                received = self._outgoing.acknowledged
            self._outgoing.resume(received)
            self._share.keeps(self._outgoing.kept)
            self._incoming.resume(self._consumed)
            self._input.clear()
            self._input_share.keeps(0)
            self._missed = False
            self._end_sent = False
            self.client = client
        self._writable.set()
        return Attached(self._consumed, received)

    def detach(self, client: Client) -> None:
        if self.client is client:
            self.client = None

    def forgotten(self) -> None:
        """The client has all of it, and nothing is kept."""
        with self._lock:
            self._share.keeps(0)
            self._input_share.keeps(0)

    def receive(self, message: Data | Ack | Eof) -> None:
        """What the client sent. Raises RemoteProtocolError when it breaks the rules.

        Input that finds no room is dropped with all that follows it, until the client comes back and is
        told how far it came. Reading no more from the connection would stop acknowledgements as well, for
        which the function may be waiting before it reads."""
        with self._lock:
            if isinstance(message, Ack):
                self._outgoing.acknowledge(message.offset)
                self._share.keeps(self._outgoing.kept)
            elif self._missed:
                return
            elif isinstance(message, Eof):
                self._incoming.finish(message.offset)
            else:
                self._accept(message.offset, message.data)
        if isinstance(message, Ack):
            self._writable.set()
        else:
            self._readable.set()

    def _accept(self, offset: int, data: bytes) -> None:
        """What there is room for. Under the lock."""
        if offset + len(data) - self._consumed > limits.WINDOW:
            raise RemoteProtocolError("more input than the window allows")
        new = offset + len(data) - self._incoming.received
        room = self._input_share.room(self._unread, new) if new > 0 else 0
        self._missed = room < new
        if self._missed:
            data = data[: len(data) - (new - room)]
        data = self._incoming.accept(offset, data)
        if data:
            self._input.append(data)
        self._input_share.keeps(self._unread)

    def next_message(self) -> Message | None:
        """What to send on the present connection now, if anything."""
        with self._lock:
            due = self._incoming.due(self._consumed)
            if due is not None:
                return Ack(due)
            piece = self._outgoing.take()
            if piece is not None:
                return Data(*piece)
            if self._end is None or self._end_sent:
                return None
            self._end_sent = True
            owner = self.client is not None and self.client.owner
            end = self._end
            return end if owner else End(end.offset, end.failed, end.detail, "")
