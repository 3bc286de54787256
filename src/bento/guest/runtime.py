"""The guest's loop: one thread, one epoll, the listening socket the sandbox was born with.

Invariant: nothing of the function runs on this thread, and nothing it does can keep the loop from
serving the next connection (it can only end the process, which ends the instance).
"""

from __future__ import annotations

import posix
import sys
from _socket import socket
from _struct import pack
from _thread import get_ident, start_new_thread
from select import EPOLLIN, EPOLLOUT, epoll
from time import monotonic, sleep

from bento.errors import BentoError, BoxError, FunctionError
from bento.guest import network
from bento.guest.api import Api, Limits
from bento.guest.connection import Connection, ControlConnection, SessionConnection
from bento.guest.function import Function, describe
from bento.guest.session import Session
from bento.guest.spools import Spools, most_sessions, send_buffer
from bento.guest.sync import Signal, wait_until
from bento.protocol import control, limits
from bento.protocol.session import ANYWHERE, session_tag

LISTENER_FD = 3
EGRESS_PORT = 1080
FOLDER = "/tmp"  # noqa: S108 - the sandbox's private tmpfs
TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.guest.chromium import Supply
    from bento.guest.enclosure import Enclosure
    from bento.guest.tor import TorWay
    from bento.guest.way_out import WayOut

_WIND_UP_PAUSE = 0.05  # seconds between looks whether the last answers were fetched
_AF_INET, _STREAM, _SOL_SOCKET, _SO_SNDBUF, _SCM_RIGHTS = 2, 1, 1, 7, 1


class Runtime:
    """All state of one instance."""

    def __init__(self, enclosure: Enclosure | None = None) -> None:
        """`enclosure`: the walls of a conclave around this guest, if there are any."""
        self.enclosure = enclosure
        self.started: control.Start | None = None
        self.owner: bytes | None = None
        self._started_at = 0.0
        self._installed = False  # whether all of the code came and was what was announced
        self._function: Function | None = None
        self._uploader: SessionConnection | None = None
        self._loaded = Signal()
        self._failure: FunctionError | None = None
        self._failure_text = ""
        self._sessions: dict[bytes, Session] = {}
        self._spools = self._inputs = Spools(0)
        self._spent: set[bytes] = set()  # tags of counted sessions that were fetched to their end
        self._threads: dict[int, Session] = {}
        self._ending = False
        self._poll = epoll()
        self._connections: dict[int, Connection] = {}
        self._watched: dict[int, int] = {}
        self._greeting: dict[int, tuple[socket, bytearray]] = {}  # accepted, opening not there yet
        self._early: list[tuple[socket, bytes]] = []
        self._tor: TorWay | None = None
        self._way_out: WayOut | None = None
        self._chromiums: Supply | None = None
        self._awake: set[SessionConnection] = set()
        self._wake_fd = posix.eventfd(0, posix.EFD_NONBLOCK | posix.EFD_CLOEXEC)
        self._listener = socket(fileno=LISTENER_FD)
        self._listener.setblocking(False)
        self._egress = socket(_AF_INET, _STREAM)
        self._egress.bind(("127.0.0.1", EGRESS_PORT))
        self._egress.listen(64)

    # -- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        self._poll.register(self._wake_fd, EPOLLIN)
        self._poll.register(self._listener.fileno(), EPOLLIN)
        while True:
            for fd, events in self._poll.poll(self._uploading()):
                self._dispatch(fd, events)

    def _uploading(self) -> float:
        """Seconds left for the upload, -1 when it is there. A place that nobody uses is given up: the
        process ends, and with it the instance."""
        if self.started is None or self._installed:
            return -1
        left = self._started_at + self.started.patience - monotonic()
        left += self._function.received / limits.UPLOAD_RATE if self._function else 0
        if left <= 0:
            posix._exit(0)
        return left

    def _dispatch(self, fd: int, events: int) -> None:
        if fd == self._wake_fd:
            posix.eventfd_read(fd)
            while self._awake:
                self._awake.pop().pump()
        elif fd == self._listener.fileno():
            self._accept()
        elif fd in self._greeting:
            self._greet(fd)
        elif fd in self._connections:
            connection = self._connections[fd]
            if events & EPOLLOUT:
                connection.flush()
                if isinstance(connection, SessionConnection):
                    connection.pump()
            if events & ~EPOLLOUT and fd in self._connections:
                connection.readable()

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = socket(fileno=fd)
        sock.setblocking(False)
        self._greeting[fd] = (sock, bytearray())
        self._poll.register(fd, EPOLLIN)
        self._greet(fd)

    def _greet(self, fd: int) -> None:
        sock, opening = self._greeting[fd]
        try:
            while len(opening) < control.OPENING and opening[:1] in (b"", control.SESSION):
                data = sock.recv(control.OPENING - len(opening) if opening else 1)
                if not data:
                    raise ConnectionResetError
                opening += data
        except BlockingIOError:
            return
        except OSError:
            opening.clear()
        use = opening[:1]
        del self._greeting[fd]
        self._poll.unregister(fd)
        if use == control.CONTROL:
            self._greet_box(sock)
        elif use == control.SESSION and self.started:
            self._admit(self._session_on(sock, bytes(opening)))
        elif use == control.SESSION:
            # It overtook the Start on the control connection.
            self._early.append((sock, bytes(opening)))
        elif use == control.TOR:
            self._tor_way().offer(sock)
        elif use == control.BOXES:
            self._way_to_boxes().offer(sock)
        elif use == control.ONION:
            self._tor_way().onions.arrive(sock)
        else:
            sock.close()

    def _greet_box(self, sock: socket) -> None:
        connection = ControlConnection(sock, self)
        self._admit(connection)
        egress = pack("i", self._egress.fileno())
        sock.sendmsg([control.READY], [(_SOL_SOCKET, _SCM_RIGHTS, egress)])
        warm_up()
        if self.enclosure is not None:
            self.enclosure.joined(connection)

    def _session_on(self, sock: socket, opening: bytes) -> SessionConnection:
        assert self.started is not None
        others = len(self._connections) - 1  # one is the box's
        sock.setsockopt(_SOL_SOCKET, _SO_SNDBUF, send_buffer(self.started.memory, others))
        if self.enclosure is not None:
            return self.enclosure.connection(sock, self, opening)
        return SessionConnection(sock, self, opening)

    def _tor_way(self) -> TorWay:
        if self._tor is None:
            from bento.guest.tor import TorWay

            self._tor = TorWay()
        return self._tor

    def _way_to_boxes(self) -> WayOut:
        if self._way_out is None:
            from bento.guest.way_out import WayOut

            self._way_out = WayOut(self.enclosure)
        return self._way_out

    def _admit(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        self._connections[fd] = connection
        self._watched[fd] = EPOLLIN
        self._poll.register(fd, EPOLLIN)

    def watch(self, connection: Connection) -> None:
        """Waits for the socket to become writable only while something is queued for it."""
        fd = connection.sock.fileno()
        wanted = EPOLLIN | EPOLLOUT if connection.blocked else EPOLLIN
        if self._watched.get(fd, wanted) != wanted:
            self._poll.modify(fd, wanted)
            self._watched[fd] = wanted

    def drop(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if self._connections.pop(fd, None) is not None:
            self._watched.pop(fd, None)
            self._poll.unregister(fd)

    def wake(self, connection: SessionConnection) -> None:
        """From any thread: `connection` has something to send."""
        if connection not in self._awake:
            self._awake.add(connection)
            posix.eventfd_write(self._wake_fd, 1)

    # -- the instance ----------------------------------------------------------------------------

    def start(self, terms: control.Start) -> None:
        """The box hands the instance out. Only the first time counts: a restarted box starts again."""
        if self.started is None:
            self.started = terms
            self._started_at = monotonic()
            self._spools = Spools.of(terms.memory, terms.spool)
            self._inputs = Spools.of_input(terms.memory)
            salt = 0
            if self.enclosure is not None:
                salt = limits.SALT
                self.enclosure.started(terms.function)
            if terms.chromium:
                from bento.guest.chromium import Supply

                self._chromiums = Supply()
            self._function = Function(terms.function, terms.upload, salt)
            sys.stdout = sys.stderr = _Printed(self)
            network.install(EGRESS_PORT)
            while self._early:
                self._admit(self._session_on(*self._early.pop()))

    def claim(self, owner: bytes) -> bool:
        """The first uploader becomes the owner; anyone else is refused."""
        if self.owner is None:
            self.owner = owner
        if owner != self.owner:
            raise BoxError("this instance has an owner already", "install one of your own")
        return True

    def begin_upload(self, connection: SessionConnection, size: int, offset: int) -> int:
        """How much of the upload is there; from here `connection` is the one that brings the rest."""
        function = self._function
        assert function is not None
        if self._installed and offset != ANYWHERE:
            raise BoxError("the function is installed already", "invoke it")
        self._uploader = connection
        if self._installed:
            connection.loaded = function.main is not None or self._failure is not None
            return size
        if offset == ANYWHERE:
            offset = function.received if function.size == size else 0
        function.begin(size, offset)
        return function.received

    def code(self, connection: SessionConnection, data: bytes) -> None:
        assert self._function is not None
        if connection is not self._uploader:
            raise BoxError("another connection goes on with the upload", "leave it to that one")
        self._function.append(data)
        if self._function.complete:
            self._function.verify()
            self._installed = True
            start_new_thread(self._load, ())

    def session(self, name: bytes, create: bool, counted: bool = False) -> tuple[Session, bool]:
        """The session called `name` and whether it is new. A `counted` one is new only once."""
        assert self.started is not None
        found = self._sessions.get(name)
        if found is not None:
            return found, False
        if not create:
            raise BoxError(
                "there is no such session",
                "it was fetched to its end already, or belongs to another instance",
            )
        if counted and session_tag(name) in self._spent:
            raise BoxError(
                "this session was fetched to its end already",
                "each counted use of a ticket is one session",
            )
        if self._ending:
            raise BoxError("the instance is ending", "install the function again")
        most = most_sessions(self.started.memory, self.started.spool)
        if len(self._sessions) >= most:
            raise BoxError(
                f"the instance has {most} sessions already",
                "fetch and end some, or invoke later",
            )
        session = Session(
            name,
            self.started.spool,
            self._spools,
            self._inputs,
            lambda: self._wake_session(session),
            self.end,
            counted,
        )
        self._sessions[name] = session
        return session, True

    def invoke(
        self, session: Session, args: list[object], kwargs: dict[str, object], text: bool
    ) -> None:
        try:
            start_new_thread(self._call, (session, args, kwargs, text))
        except RuntimeError:  # the manifest's pids count threads as well
            del self._sessions[session.name]
            raise BoxError(
                "the instance has as many threads as its manifest's pids allow",
                "end some sessions, or ask for more pids",
            ) from None

    @property
    def failure(self) -> tuple[FunctionError | None, str]:
        """Why the function could not be loaded, and the traceback that belongs to it."""
        return self._failure, self._failure_text

    def forget(self, session: Session) -> None:
        """The client has everything of it."""
        self._sessions.pop(session.name, None)
        session.forgotten()
        if session.counted:
            self._spent.add(session_tag(session.name))

    def end(self) -> None:
        """From a function's thread: no new sessions, and the process ends (the box then clears up) once
        no client is attached to the present ones, or after a while."""
        if not self._ending:
            self._ending = True
            start_new_thread(self._wind_up, ())

    def _wind_up(self) -> None:
        deadline = monotonic() + limits.END_SECONDS
        while self._attached() and monotonic() < deadline:
            sleep(_WIND_UP_PAUSE)
        posix._exit(0)

    def _attached(self) -> bool:
        return any(session.client for session in tuple(self._sessions.values()))

    def printed(self, line: str) -> None:
        """A line the function printed goes to the owner of the session it ran in."""
        session = self._threads.get(get_ident())
        for target in (session,) if session else tuple(self._sessions.values()):
            target.log(line)

    # -- the function's threads ------------------------------------------------------------------

    def _load(self) -> None:
        assert self._function is not None
        try:
            self._function.load()
        except BentoError as error:
            self._failure = FunctionError(error.detail, error.hint)
        except BaseException as error:
            detail, self._failure_text = describe(error)
            self._failure = FunctionError(f"{detail} while it was loaded")
        self._loaded.set()
        uploader = self._uploader
        assert uploader is not None
        uploader.loaded = True
        self.wake(uploader)

    def _call(
        self, session: Session, args: list[object], kwargs: dict[str, object], text: bool
    ) -> None:
        assert self.started is not None
        assert self._function is not None
        self._threads[get_ident()] = session
        try:
            self._wait_loaded()
            terms = Limits(self.started.memory, self.started.disk, self.started.network)
            ways = self._tor, self._way_out, self._chromiums
            api = Api(session, f"{FOLDER}/data", terms, self.started.expires, *ways)
            try:
                self._function.call(api, args, kwargs, text)
            finally:
                if self._tor is not None and (line := self._tor.recorded_line()):
                    session.log(line)
        except BentoError as error:
            session.finish(True, str(error), self._failure_text)
        except BaseException as error:
            session.finish(True, *describe(error))
        else:
            session.finish(False)
        finally:
            del self._threads[get_ident()]

    def _wait_loaded(self) -> None:
        function = self._function
        assert function is not None
        wait_until(self._loaded, lambda: bool(function.main or self._failure), None)
        if self._failure is not None:
            raise self._failure

    def _wake_session(self, session: Session) -> None:
        client = session.client
        if isinstance(client, SessionConnection):
            self.wake(client)


def warm_up() -> None:
    """What the first call would pay for is paid while the sandbox waits in its pool."""
    import _sha256  # noqa: F401

    start_new_thread(compile, ("def main(api): pass", "warm", "exec"))


class _Printed:
    """sys.stdout and sys.stderr of a function: whole lines become log lines."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._partial: dict[int, str] = {}

    def write(self, text: str) -> int:
        thread = get_ident()
        *lines, rest = (self._partial.get(thread, "") + text).split("\n")
        for line in lines:
            self._runtime.printed(line)
        self._partial[thread] = rest[-limits.LOG_LINE :]
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def main(inside: str = "") -> None:
    """`inside` names the module that makes a conclave's channels and storage, if this is one."""
    if inside:
        from bento.guest.enclosure import enclose

        Runtime(enclose(inside, FOLDER)).run()
    Runtime().run()
