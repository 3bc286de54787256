"""One connection to the guest's socket: the box's control, or a client's session.

`Connection` moves frames; the two subclasses say what a message means. All of it runs on the loop
thread. A peer that breaks the protocol is told why, once, and closed; nothing else is disturbed.
"""

from __future__ import annotations

import posix
from _operator import _compare_digest

from bento.errors import BentoError, BoxError, RemoteProtocolError
from bento.protocol import control, limits, session, values
from bento.protocol.padding import Pad
from bento.protocol.wire import encode, encode_uncopied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bento.guest.runtime import Runtime
    from bento.guest.session import Session
    from bento.protocol.wire import FrameReader, Message

_READ = 256 * 1024  # bytes taken from a socket at once
_QUEUE = 512 * 1024  # bytes waiting for a socket before the session is asked for more
_VECTOR = 64  # pieces in one write
_SHUT_WR = 1
_LOGS = 256  # log lines waiting for a slow owner; more are dropped


class Connection:
    """Frames over one non-blocking socket."""

    reader: FrameReader

    def __init__(self, sock: Any, runtime: Runtime) -> None:
        self.sock = sock
        self.runtime = runtime
        self.waiting = 0  # bytes queued for the socket
        self._queue: list[memoryview] = []
        self._closing = False

    @property
    def blocked(self) -> bool:
        """Whether something waits until the socket is writable."""
        return self.waiting > 0

    def readable(self) -> None:
        try:
            data = self.sock.recv(_READ)
        except BlockingIOError:
            return
        except (OSError, RemoteProtocolError):  # the latter where the socket ends a channel
            data = b""
        if not data:
            self.close()
        elif not self._closing:
            self.feed(data)

    def feed(self, data: bytes) -> None:
        try:
            for message in self.reader.feed(data):
                self.handle(message)
        except BentoError as error:
            self.fail(error)

    def handle(self, message: Message) -> None:
        raise NotImplementedError  # pragma: no cover

    def fail(self, error: BentoError, traceback: str = "") -> None:
        """Tells the peer and ends the connection."""

    def send(self, message: Message) -> None:
        self.queue(message)
        self.flush()

    def queue(self, message: Message) -> None:
        """To be written by the next `flush`, together with what else waits."""
        if self._closing:
            return
        whole = not isinstance(message, session.Data)  # whose bytes are the spool's own
        for piece in (encode(message),) if whole else encode_uncopied(message):
            self._queue.append(memoryview(piece))
            self.waiting += len(piece)

    def flush(self) -> None:
        """Writes what the socket takes now, in as few pieces as it takes: each wakes the box."""
        try:
            while self._queue:
                self._written(self.sock.sendmsg(self._queue[:_VECTOR]))
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._closing and not self._queue:
            self._half_close()
        self.runtime.watch(self)

    def _written(self, count: int) -> None:
        self.waiting -= count
        while count:
            first = self._queue[0]
            if count < len(first):
                self._queue[0] = first[count:]
                return
            count -= len(first)
            del self._queue[0]

    def finish(self) -> None:
        """Nothing more is said once what is queued is written. What the peer still sends is read and
        dropped: closing on unread bytes would reset the connection and lose our last words."""
        self._closing = True
        self.flush()

    def _half_close(self) -> None:
        try:
            self.sock.shutdown(_SHUT_WR)
        except OSError:
            pass  # the peer has gone

    def close(self) -> None:
        self._queue.clear()
        self.runtime.drop(self)
        self.sock.close()


class ControlConnection(Connection):
    """The box: gets the egress listener, then starts the guest once."""

    def __init__(self, sock: Any, runtime: Runtime) -> None:
        super().__init__(sock, runtime)
        self.reader = control.guest_reader()

    def handle(self, message: Message) -> None:
        if isinstance(message, control.Start):
            self.runtime.start(message)
        elif self.runtime.enclosure is None:
            raise RemoteProtocolError("this guest is in no conclave")
        else:
            self.runtime.enclosure.told(message)

    def fail(self, error: BentoError, traceback: str = "") -> None:
        self.close()

    def close(self) -> None:
        super().close()
        if self.runtime.enclosure is not None:
            self.runtime.enclosure.left(self)
        if not self.runtime.started:
            posix._exit(0)


class SessionConnection(Connection):
    """A client, through the box: uploads the function, or carries one session."""

    def __init__(self, sock: Any, runtime: Runtime, opening: bytes) -> None:
        super().__init__(sock, runtime)
        self._rights = opening[1]
        self._tag = opening[2:]
        self.reader = session.guest_reader()
        self.owner = False
        self.session: Session | None = None
        self.loaded = False  # set by the loading thread; reported once by pump
        self._logs: list[str] = []

    def handle(self, message: Message) -> None:
        if self._closing or isinstance(message, Pad):
            return
        if isinstance(message, session.Data | session.Ack | session.Eof):
            if self.session is None:
                raise RemoteProtocolError("stream bytes without a session")
            self.session.receive(message)
            self.pump()
        elif isinstance(message, session.Load):
            self._load(message)
        elif isinstance(message, session.Code):
            self.runtime.code(self, message.data)
        elif isinstance(message, session.Bye):
            self._bye()
        elif self.session is not None:
            raise RemoteProtocolError("one connection carries one session")
        elif isinstance(message, session.Invoke):
            self._invoke(message)
        elif isinstance(message, session.Attach):
            self._attach(message)
        else:
            raise RemoteProtocolError("this guest is in no conclave")

    def pump(self) -> None:
        """Sends what the session has, as far as the socket takes it: whoever leaves something behind in the
        session must have left something in the queue too, or nothing would bring it here again."""
        if self.loaded:
            self.report_loaded()
        if self.session is not None and self.session.starved:
            self.close()  # its client comes back
            return
        while True:
            self._fill()
            full = self.waiting >= _QUEUE
            self.flush()
            if self.blocked or not full:
                return

    def _fill(self) -> None:
        while self._logs and self.waiting < _QUEUE:
            self.queue(session.Log(self._logs.pop(0)))
        while self.session is not None and self.waiting < _QUEUE:
            message = self.session.next_message()
            if message is None:
                return
            self.queue(message)

    def send_log(self, line: str) -> None:
        """Called from the function's threads."""
        if len(self._logs) < _LOGS:
            self._logs.append(line.encode()[: limits.LOG_LINE].decode(errors="ignore"))
            self.runtime.wake(self)

    def fail(self, error: BentoError, traceback: str = "") -> None:
        self.send(
            session.Failed(
                error.kind,
                error.detail[:1000],
                error.hint[:1000],
                traceback[-limits.TRACEBACK // 4 :],
            )
        )
        self.finish()

    def close(self) -> None:
        if self.session is not None:
            self.session.detach(self)
            self.session = None
        super().close()

    def report_loaded(self) -> None:
        self.loaded = False
        failure, traceback = self.runtime.failure
        if failure is None:
            self.send(session.Loaded())
        elif self.session is None:  # a session reports it by its End
            self.fail(failure, traceback)

    def _load(self, message: session.Load) -> None:
        self._permit(control.MAY_INVOKE)
        self.owner = self.runtime.claim(message.owner)
        received = self.runtime.begin_upload(self, message.size, message.offset)
        self.send(session.Loading(received))
        if self.loaded:
            self.report_loaded()

    def _invoke(self, message: session.Invoke) -> None:
        self._prove(message.owner)
        self._permit(control.MAY_INVOKE, message.session)
        arguments = values.decode_values(message.arguments)
        if not (
            isinstance(arguments, list)
            and len(arguments) == 2
            and isinstance(arguments[0], list)
            and isinstance(arguments[1], dict)
        ):
            raise RemoteProtocolError("arguments are a list and a map")
        uses = self.uses(control.MAY_INVOKE, message.session)
        counted = bool(self._rights & control.COUNTED or uses)
        found, new = self.runtime.session(message.session, create=True, counted=counted)
        if new:  # before Attached, which promises that main runs
            self.runtime.invoke(found, arguments[0], arguments[1], message.text)
            for tags in uses:
                tags.add(session.session_tag(message.session))
        self._bind(found, 0)

    def _attach(self, message: session.Attach) -> None:
        self._prove(message.owner)
        self._permit(control.MAY_ATTACH, message.session)
        self.uses(control.MAY_ATTACH, message.session)
        found, _ = self.runtime.session(message.session, create=False)
        self._bind(found, message.received)

    def _bind(self, found: Session, received: int) -> None:
        previous = found.client
        attached = found.attach(self, received)
        if isinstance(previous, SessionConnection):
            previous.session = None
            # Or it would come back by itself, and the two would take turns for ever.
            previous.fail(
                BoxError("another client goes on with this session", "leave it to that one")
            )
        self.session = found
        self.send(attached)
        self.pump()

    def _bye(self) -> None:
        if self.session is not None and self.session.ended:
            self.runtime.forget(self.session)
        self.finish()

    def _permit(self, right: int, name: bytes | None = None) -> None:
        """Raises BoxError when the token the box checked for this connection does not go so far."""
        if not self._rights & right:
            raise BoxError("the token does not allow this", "bento ticket shows what it allows")
        if name is None or self._tag == control.ANY_SESSION:
            return
        if self._tag != session.session_tag(name):
            raise BoxError("the connection was opened for another session", "open one for each")

    def uses(self, right: int, name: bytes) -> tuple[set[bytes], ...]:
        """Counters that a new session is put into by its tag. Outside conclaves the box has counted, and
        its rights are all there is to ask."""
        return ()

    def _prove(self, owner: bytes) -> None:
        self.owner = self.runtime.owner is not None and _compare_digest(owner, self.runtime.owner)
