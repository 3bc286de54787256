"""Where connections to a function's onion services end: in the function, or at a port of the sandbox.

The box brings each connection to the guest's socket with a number, the target that the service was
made with. Below 1024 it is one of our own `OnionService`s (nothing in a sandbox can listen there);
else a program in here listens on that port of 127.0.0.1, and two threads carry the bytes to it.
"""

from __future__ import annotations

from _socket import socket as raw_socket
from _thread import allocate_lock, start_new_thread

from bento.guest.sync import Signal, wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket

_FIRST_OPEN_PORT = 1024
_WAITING = 64  # connections nobody has accepted yet; more are closed
_PIECE = 1 << 16
_SHUT_WR = 1


class OnionService:
    """`address` is what clients connect to, `port` at which port. Gives connections until `close`."""

    def __init__(self, target: int, port: int) -> None:
        self.target = target
        self.port = port
        self.address = ""
        self._remove: Callable[[], None] = lambda: None
        self._waiting: list[raw_socket] = []
        self._changed = Signal()
        self._closed = False

    def accept(self, timeout: float | None = None) -> socket:
        """The next connection, an ordinary blocking socket.

        Raises TimeoutError after `timeout` seconds, ConnectionError once the service is closed."""
        import socket

        if not wait_until(self._changed, lambda: bool(self._waiting or self._closed), timeout):
            raise TimeoutError("no connection within the time given")
        if self._closed:
            raise ConnectionError("the onion service is closed")
        connection = socket.socket(fileno=self._waiting.pop(0).detach())
        connection.setblocking(True)
        return connection

    def __iter__(self) -> Iterator[socket]:
        """Connections until the service is closed."""
        while not self._closed:
            try:
                yield self.accept()
            except ConnectionError:
                return

    def close(self) -> None:
        """Takes the service out of tor. Connections that were accepted go on."""
        if not self._closed:
            self._remove()

    def __enter__(self) -> OnionService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for this room -----------------------------------------------------------------------

    def begin(self, service_id: str, remove: Callable[[], None]) -> None:
        self.address = f"{service_id}.onion"
        self._remove = remove

    def deliver(self, sock: raw_socket) -> None:
        if self._closed or len(self._waiting) >= _WAITING:
            sock.close()
            return
        self._waiting.append(sock)
        self._changed.set()

    def end(self) -> None:
        self._closed = True
        while self._waiting:
            self._waiting.pop().close()
        self._changed.set()


class OnionEnds:
    """The targets of an instance's onion services."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._services: dict[int, OnionService] = {}

    def open(self, port: int) -> OnionService:
        """A service with a target that no other has; `port` is the one clients see."""
        with self._lock:
            target = next(n for n in range(1, _FIRST_OPEN_PORT) if n not in self._services)
            service = self._services[target] = OnionService(target, port)
        return service

    def close(self, service: OnionService) -> None:
        self._services.pop(service.target, None)
        service.end()

    def arrive(self, sock: raw_socket) -> None:
        """A connection from the box, with its target as the next two bytes."""
        target = int.from_bytes(sock.recv(2), "big")
        service = self._services.get(target)
        if service is not None:
            service.deliver(sock)
        elif target < _FIRST_OPEN_PORT:
            sock.close()
        else:
            start_new_thread(_carry, (sock, target))


def _carry(client: raw_socket, port: int) -> None:
    """Both ways between `client` and a server in this sandbox, until both are done."""
    client.setblocking(True)
    server = raw_socket()
    try:
        server.connect(("127.0.0.1", port))
        done = allocate_lock()
        done.acquire()
        start_new_thread(_pour, (server, client, done))
    except (OSError, RuntimeError):  # nobody listens; as many threads as pids allow
        client.close()
        server.close()
        return
    _pour(client, server, None)
    done.acquire()
    client.close()
    server.close()


def _pour(source: raw_socket, drain: raw_socket, done: object) -> None:
    try:
        while data := source.recv(_PIECE):
            drain.sendall(data)
        drain.shutdown(_SHUT_WR)
    except OSError:
        for end in (source, drain):
            try:
                end.shutdown(2)
            except OSError:
                pass
    finally:
        if done is not None:
            done.release()  # type: ignore[attr-defined]
