"""Where clients come in: listening sockets whose connections all go to one door.

The circuit entrance is an address that only the box's own relay may reach; the onion entrance is a
unix socket that tor connects to. Both lead to the same door with the same tokens.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from bento.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG = 128
_BATCH = 16  # connections accepted at once before others get a turn
_PAUSE = 0.2  # seconds without accepting when the process is out of descriptors


class Entrance:
    """One listening socket."""

    def __init__(self, listener: socket.socket, enter: Callable[[socket.socket], None]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._enter = enter
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._accept)
        self._paused: asyncio.TimerHandle | None = None

    @classmethod
    def tcp(cls, address: str, port: int, enter: Callable[[socket.socket], None]) -> Entrance:
        """Raises HostError when the address is not this machine's or is taken."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise HostError(
                f"cannot listen on {address} port {port}: {error.strerror}",
                f"add the address to lo: ip address add {address}/32 dev lo",
            ) from None
        return cls(listener, enter)

    @classmethod
    def unix(cls, path: Path, enter: Callable[[socket.socket], None]) -> Entrance:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            # tor may run as another user; the folder's permissions say who gets here.
            path.chmod(0o666)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise HostError(f"cannot listen on {path}: {error.strerror or error}") from None
        return cls(listener, enter)

    def close(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listener)
        name = self._listener.getsockname()
        self._listener.close()
        if isinstance(name, str):
            Path(name).unlink(missing_ok=True)

    def _accept(self) -> None:
        for _ in range(_BATCH):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError:  # out of descriptors or memory: leave the rest in the backlog a while
                self.pause(_PAUSE)
                return
            client.setblocking(False)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._enter(client)
            if self._paused is not None:
                return

    def pause(self, seconds: float) -> None:
        """Accepts nothing for so long; who comes meanwhile waits in the backlog."""
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()
        self._paused = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listener, self._accept)
