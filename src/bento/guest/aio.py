"""The same API for `async def main`: the waiting calls are coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bento.guest.api import Api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bento.guest.boxes import Boxes


class AsyncApi:
    """`api` for an asynchronous main. Each waiting call occupies a thread of the guest while it waits."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.limits = api.limits
        self.expires = api.expires
        self.log = api.log
        self.end = api.end
        self.chromium = api.chromium

    @property
    def data(self) -> Path:
        return self._api.data

    @property
    def boxes(self) -> Boxes:
        """As of the blocking API, and blocking: `await asyncio.to_thread(api.boxes.install, code)`."""
        return self._api.boxes

    async def send(
        self, data: bytes | bytearray | memoryview | str, timeout: float | None = None
    ) -> None:
        await asyncio.to_thread(self._api.send, data, timeout)

    async def recv(self, size: int | None = None, timeout: float | None = None) -> bytes:
        return await asyncio.to_thread(self._api.recv, size, timeout)

    async def poll(self, timeout: float | None = 0) -> bool:
        return await asyncio.to_thread(self._api.poll, timeout)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.recv():
            yield data


def run(
    main: Callable[..., object], api: Api, args: list[object], kwargs: dict[str, object]
) -> object:
    """Runs a coroutine function to its end on a loop of its own."""
    return asyncio.run(main(AsyncApi(api), *args, **kwargs))  # type: ignore[arg-type]
