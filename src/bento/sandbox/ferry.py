"""The inside end of a carrier (see `carrier`): the first process of a gVisor sandbox.

It starts the guest as its child, which finds the sockets it finds everywhere: a listening one, and a
control connection over which it passes out its egress listener. This process keeps that listener,
accepts on it, and moves the bytes. It runs inside, from its source, by /usr/bin/python3 -I -S; it ends
with the guest or with the carrier, and everything inside with it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_PIECE = 1 << 16
_RIGHTS = _socket.CMSG_SPACE(4 * 4)


class End:
    """One end of a connection being moved; `pending` was read here and is due at `peer`."""

    __slots__ = ("eof", "mask", "passes", "peer", "pending", "sock")

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.peer = self  # until it is joined
        self.pending = b""
        self.eof = False
        self.mask = 0
        self.passes = False  # may pass descriptors: the guest's end


class Ferry:
    """Moves what comes and goes; `address` is the guest's listening socket."""

    def __init__(self, carrier: _socket.socket, address: bytes) -> None:
        self.carrier = carrier
        self.address = address
        self.egress: _socket.socket | None = None
        self.waiting: list[_socket.socket] = []  # accepted, not yet answered
        self.ends: dict[int, End] = {}
        self.poll = select.epoll()
        self.poll.register(carrier.fileno(), _IN)

    def run(self) -> NoReturn:
        while True:
            for number, events in self.poll.poll():
                if number == self.carrier.fileno():
                    self.arrived()
                elif self.egress and number == self.egress.fileno():
                    self.dialled()
                elif number in self.ends:
                    self.move(self.ends[number], events)

    def arrived(self) -> None:
        what, rights = receive(self.carrier, 1)
        if not what:
            posix._exit(0)
        connection = rights[0] if rights else None
        if what == b"A" and connection:
            inside = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            inside.connect(self.address)
            self.join(connection, inside, passes=True)
        elif what in (b"E", b"X") and self.waiting:
            inside = self.waiting.pop(0)
            if connection:
                self.join(connection, inside)
            else:
                inside.close()

    def dialled(self) -> None:
        try:
            assert self.egress is not None
            number, _ = self.egress._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        self.waiting.append(_socket.socket(fileno=number))
        self.carrier.send(b"E")

    def listen(self, listener: _socket.socket) -> None:
        if self.egress:
            self.poll.unregister(self.egress.fileno())
        self.egress = listener
        listener.setblocking(False)
        self.poll.register(listener.fileno(), _IN)

    def join(self, one: _socket.socket, other: _socket.socket, passes: bool = False) -> None:
        ends = End(one), End(other)
        ends[1].passes = passes
        for end, peer in (ends, ends[::-1]):
            end.peer = peer
            end.sock.setblocking(False)
            self.ends[end.sock.fileno()] = end
        self.watch(ends[0])

    def watch(self, end: End) -> None:
        for one in (end, end.peer):
            mask = (0 if one.eof or one.pending else _IN) | (_OUT if one.peer.pending else 0)
            if mask != one.mask:
                number = one.sock.fileno()
                if not one.mask:
                    self.poll.register(number, mask)
                elif mask:
                    self.poll.modify(number, mask)
                else:
                    self.poll.unregister(number)
                one.mask = mask

    def move(self, end: End, events: int) -> None:
        try:
            if events & _OUT and end.peer.pending:
                self.put(end.peer)
            if events & ~_OUT and not end.pending and not end.eof:
                self.take(end)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(end)
            return
        if end.eof and end.peer.eof and not end.pending and not end.peer.pending:
            self.drop(end)
        else:
            self.watch(end)

    def take(self, end: End) -> None:
        if end.passes:
            end.pending, rights = receive(end.sock, _PIECE)
            for listener in rights:  # the guest's egress listener, on its control connection
                self.listen(listener)
        else:
            end.pending = end.sock.recv(_PIECE)
        if not end.pending:
            end.eof = True
            end.peer.sock.shutdown(_socket.SHUT_WR)
        else:
            self.put(end)

    def put(self, end: End) -> None:
        end.pending = end.pending[end.peer.sock.send(end.pending) :]

    def drop(self, end: End) -> None:
        for one in (end, end.peer):
            if one.mask:
                self.poll.unregister(one.sock.fileno())
            del self.ends[one.sock.fileno()]
            one.sock.close()


def receive(source: _socket.socket, size: int) -> tuple[bytes, list[_socket.socket]]:
    data, ancillary, _, _ = source.recvmsg(size, _RIGHTS)
    numbers = b"".join(part for _, kind, part in ancillary if kind == _socket.SCM_RIGHTS)
    return data, [
        _socket.socket(fileno=int.from_bytes(numbers[at : at + 4], "little"))
        for at in range(0, len(numbers), 4)
    ]


def ferry() -> None:
    """Returns in the guest's process, with the listening socket as descriptor 0."""
    carrier = _socket.socket(fileno=posix.dup(0))
    if not carrier.recv(1):
        posix._exit(0)
    door = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    address = b"\0door%d" % posix.getpid()
    door.bind(address)
    door.listen(128)
    child = posix.fork()
    if child == 0:
        posix.dup2(door.fileno(), 0)
        carrier.close()
        door.close()
        return

    def reap(*_: object) -> None:
        while True:
            try:
                gone, _status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                posix._exit(0)
            if gone == child:
                posix._exit(0)
            if gone == 0:
                return

    _signal.signal(_signal.SIGCHLD, reap)
    reap()
    door.close()
    null = posix.open("/dev/null", posix.O_RDWR)
    posix.dup2(null, 0)
    posix.dup2(null, 1)
    Ferry(carrier, address).run()
