"""A function's way to tor: two ports inside the sandbox that lead to the box, one stem on them.

The box asks for the listeners and accepts on them itself, as with egress: 9051 leads through the Stem
firewall to the control port of the functions' tor, 9050 to its SOCKS port. So a stem program that
knows nothing of Bento works as it is; `api.stem()` is the short form.

Loaded only in an instance whose manifest has a `tor` line.
"""

from __future__ import annotations

from _socket import socket
from _thread import allocate_lock
from struct import pack

from bento.guest.onion import OnionEnds, OnionService
from bento.protocol import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL_PORT, SOCKS_PORT = 9051, 9050
_AF_INET, _STREAM, _SOL_SOCKET, _SCM_RIGHTS = 2, 1, 1, 1
_BACKLOG = 64


class TorWay:
    """One for each instance."""

    def __init__(self) -> None:
        self.onions = OnionEnds()
        self._lock = allocate_lock()
        self._controller: Any = None
        self._recorded = False
        self._listeners = [_listener(CONTROL_PORT), _listener(SOCKS_PORT)]

    def offer(self, sock: socket) -> None:
        """To the box, which may ask again after a restart: both listeners."""
        self._recorded = sock.recv(1) == control.RECORDED
        descriptors = pack("2i", *(listener.fileno() for listener in self._listeners))
        sock.sendmsg([control.TOR_READY], [(_SOL_SOCKET, _SCM_RIGHTS, descriptors)])
        sock.close()

    def controller(self) -> Any:
        """The instance's one stem Controller, made anew if the last one was closed."""
        with self._lock:
            if self._controller is None or not self._controller.is_alive():
                from stem.control import Controller  # type: ignore[import-untyped]

                self._controller = Controller.from_port(port=CONTROL_PORT)
                self._controller.authenticate()
            return self._controller

    def service(self, port: int, wait: bool) -> OnionService:
        """A new onion service whose connections come to the function itself."""
        service = self.onions.open(port)
        tor = self.controller()
        try:
            made = tor.create_ephemeral_hidden_service(
                {port: service.target}, await_publication=wait
            )
        except BaseException:
            self.onions.close(service)
            raise
        service.begin(made.service_id, lambda: self._remove(service, tor))
        return service

    def recorded_line(self) -> str | None:
        """What `record` found out so far; None if the instance is not recorded."""
        if not self._recorded:
            return None
        try:
            return str(self.controller().get_info("bento/manifest-line"))
        except Exception as error:  # the function's own program may hold the one connection
            return f"what it did with tor is not known: {error}"

    def _remove(self, service: OnionService, tor: Any) -> None:
        self.onions.close(service)
        if tor.is_alive():
            tor.remove_ephemeral_hidden_service(service.address.removesuffix(".onion"))


def _listener(port: int) -> socket:
    listener = socket(_AF_INET, _STREAM)
    listener.bind(("127.0.0.1", port))
    listener.listen(_BACKLOG)
    return listener
