"""Two ends of a channel in memory, of `functions.balancer.replica.Channel`."""

from __future__ import annotations

import asyncio


class End:
    def __init__(self) -> None:
        self._arriving: asyncio.Queue[bytes] = asyncio.Queue()
        self.other: End
        self.closed = False

    async def read(self) -> bytes:
        return await self._arriving.get()

    async def write(self, data: bytes) -> None:
        if self.other.closed:
            raise OSError("nobody is there")
        self.other._arriving.put_nowait(data)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.other._arriving.put_nowait(b"")


def channel() -> tuple[End, End]:
    one, two = End(), End()
    one.other, two.other = two, one
    return one, two
