"""What both halves need inside a sandbox: the network, and sessions as channels.

Blocking calls of `api` wait on threads of the channel's own, so that no loop is held up and no channel
waits for another's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from bento.errors import FunctionError
from bento.onion.network import Network
from bento.tor.controller import Controller

if TYPE_CHECKING:
    from bento.guest.api import Api

CONTROL = "127.0.0.1:9051"
"""Inside a sandbox: the functions' tor of the box, behind the Stem firewall."""

T = TypeVar("T")


@contextlib.asynccontextmanager
async def opened_control() -> AsyncIterator[Controller]:
    """This box's tor, as functions may ask it: over one connection each."""
    async with await Controller.connect(CONTROL) as control:
        await control.authenticate()
        yield control


@contextlib.asynccontextmanager
async def network_over(control: Controller) -> AsyncIterator[Network]:
    """The network, as that tor knows it."""
    network = Network(control)
    try:
        yield network
    finally:
        await network.close()


@contextlib.asynccontextmanager
async def opened_network() -> AsyncIterator[Network]:
    """The network, as this box's tor knows it."""
    async with opened_control() as control, network_over(control) as network:
        yield network


class BlockingChannel:
    """A session as `replica.Channel`: at most one reads and one writes at a time."""

    def __init__(
        self,
        recv: Callable[[], bytes],
        send: Callable[[bytes], None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._recv, self._send, self._close = recv, send, close
        self._threads = ThreadPoolExecutor(2)
        self._writing = asyncio.Lock()
        self._closed = False

    async def read(self) -> bytes:
        return await self._call(self._recv)

    async def write(self, data: bytes) -> None:
        async with self._writing:
            await self._call(lambda: self._send(data))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(self._close)

    async def _call(self, call: Callable[[], T]) -> T:
        if self._closed:
            raise OSError("the channel is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def own_session(api: Api) -> BlockingChannel:
    """The session of this call: its input and its answer."""
    return BlockingChannel(api.recv, api.send)


def read_exactly(api: Api, size: int) -> bytes:
    """The next `size` bytes of the input. Raises FunctionError when there are fewer."""
    held = bytearray()
    while len(held) < size:
        piece = api.recv(size - len(held))
        if not piece:
            raise FunctionError("the input ended too early")
        held += piece
    return bytes(held)
