"""Where a function's onion services come out of tor: a unix socket for each target in its sandbox.

tor connects to a socket here, and the bytes are carried to the guest's own socket, counted like all
others of the instance. A door is opened when the first service asks for its target; all are shut,
and their files gone, when the instance is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from bento.box.entrance import Entrance
from bento.egress.relay import Relay
from bento.errors import HostError
from bento.protocol import control

if TYPE_CHECKING:
    from pathlib import Path

    from bento.egress import EgressProxy

MOST_DOORS = 64  # eight services of eight ports
MOST_CONNECTIONS = 256  # of one instance at once, all services together


class OnionDoors(Mapping[int, str]):
    """Target port in the sandbox -> path of the socket that leads there, opened when asked for."""

    def __init__(self, guest: Path, egress: EgressProxy) -> None:
        """`guest` is the guest's socket; `egress` counts the bytes."""
        self._guest = guest
        self._egress = egress
        self._doors: dict[int, tuple[str, Entrance]] = {}
        self._relays: set[Relay] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and 0 < port < 65536 and self._open(port)

    def __getitem__(self, port: int) -> str:
        return self._doors[port][0]

    def __iter__(self) -> Iterator[int]:
        return iter(self._doors)

    def __len__(self) -> int:
        return len(self._doors)

    async def close(self) -> None:
        for _, entrance in self._doors.values():
            entrance.close()
        self._doors.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for relay in tuple(self._relays):
            relay.abort()

    def _open(self, port: int) -> bool:
        if port not in self._doors:
            path = self._guest.with_suffix(f".{port}.onion")
            if len(self._doors) >= MOST_DOORS:
                return False
            try:
                self._doors[port] = str(path), Entrance.unix(path, partial(self._enter, port))
            except HostError:
                return False
        return True

    def _enter(self, port: int, client: socket.socket) -> None:
        if len(self._relays) + len(self._tasks) >= MOST_CONNECTIONS:
            client.close()
            return
        task = asyncio.create_task(self._bring(port, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring(self, port: int, client: socket.socket) -> None:
        guest = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        guest.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(guest, str(self._guest))
            await loop.sock_sendall(guest, control.ONION + port.to_bytes(2, "big"))
        except BaseException as error:
            guest.close()
            client.close()
            if not isinstance(error, OSError):
                raise
            return
        relay = Relay(
            guest,
            client,
            self._egress,
            idle_seconds=self._egress.limits.idle_seconds,
            early=b"",
            done=lambda: self._relays.discard(relay),
        )
        self._relays.add(relay)
