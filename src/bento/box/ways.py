"""All ways between one instance and the network: its egress, and its way to tor if it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from bento.box.tor_way import TorWay
    from bento.egress.proxy import Counters, EgressProxy


class Ways:
    """`serve` once the guest is there (again), `close` when it is not."""

    def __init__(self, egress: EgressProxy, tor: TorWay | None = None) -> None:
        self._egress = egress
        self.tor = tor

    @property
    def counters(self) -> Counters:
        """Of everything that passed, whichever way."""
        return self._egress.counters

    async def serve(self, egress_listener: socket.socket) -> None:
        """Raises HostError if the guest does not hand its other listeners over."""
        await self._egress.serve(egress_listener)
        if self.tor is not None:
            await self.tor.open()

    async def close(self) -> None:
        if self.tor is not None:
            await self.tor.close()
        await self._egress.close()
