"""All ways between one instance and the network: its egress; to tor and to other boxes if it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from bento.box.boxes_way import BoxesWay
    from bento.box.tor_way import TorWay
    from bento.egress.proxy import Counters, EgressProxy


class Ways:
    """`serve` once the guest is there (again), `close` when it is not."""

    def __init__(
        self, egress: EgressProxy, tor: TorWay | None = None, boxes: BoxesWay | None = None
    ) -> None:
        self._egress = egress
        self.tor = tor
        self.boxes = boxes

    @property
    def counters(self) -> Counters:
        """Of everything that passed, whichever way."""
        return self._egress.counters

    async def serve(self, egress_listener: socket.socket) -> None:
        """Raises HostError if the guest does not hand its other listeners over."""
        await self._egress.serve(egress_listener)
        for way in (self.tor, self.boxes):
            if way is not None:
                await way.open()

    async def close(self) -> None:
        for way in (self.boxes, self.tor):
            if way is not None:
                await way.close()
        await self._egress.close()

    async def end_children(self) -> None:
        """The instance is over: what it has on other boxes is to end too."""
        if self.boxes is not None:
            await self.boxes.end_children()
