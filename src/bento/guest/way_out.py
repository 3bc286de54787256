"""A function's way to other boxes: one port inside the sandbox that leads to its own box.

The box asks for the listener and accepts on it itself, as with egress. What is said there stands in
`protocol.broker`. Loaded only in an instance whose manifest has a `boxes` line; the client that
speaks with other boxes (`boxes`) only once the function uses it.
"""

from __future__ import annotations

from _socket import socket
from _thread import allocate_lock
from struct import pack

from bento.protocol import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.guest.boxes import Boxes
    from bento.guest.knock import Walls

PORT = 1081
_AF_INET, _STREAM, _SOL_SOCKET, _SCM_RIGHTS = 2, 1, 1, 1
_BACKLOG = 64


class WayOut:
    """One for each instance; `walls` are its own if it is a conclave."""

    def __init__(self, walls: Walls | None = None) -> None:
        self._walls = walls
        self._lock = allocate_lock()
        self._boxes: Boxes | None = None
        self._listener = socket(_AF_INET, _STREAM)
        self._listener.bind(("127.0.0.1", PORT))
        self._listener.listen(_BACKLOG)

    def offer(self, sock: socket) -> None:
        """To the box, which may ask again after a restart: the listener."""
        descriptor = pack("i", self._listener.fileno())
        sock.sendmsg([control.BOXES_READY], [(_SOL_SOCKET, _SCM_RIGHTS, descriptor)])
        sock.close()

    def boxes(self, expires: int) -> Boxes:
        """The instance's one client of other boxes; the function ends at `expires`."""
        with self._lock:
            if self._boxes is None:
                from bento.guest.boxes import Boxes

                self._boxes = Boxes(expires, self._walls)
            return self._boxes
