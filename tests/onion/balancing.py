"""A front in this process and replicas in processes of their own, over the room's private network.

As a program: a replica. Its channel to the front is the socket whose number it is given.
    python -m tests.onion.balancing CONTROL_SOCKET FD
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.onion.serving import control_of

from bento.errors import BentoError
from bento.functions.balancer.replica import Replica
from bento.onion.network import Network

ROOT = Path(__file__).parents[2]


class SocketChannel:
    """Of `functions.balancer.replica.Channel`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, sock: socket.socket) -> SocketChannel:
        return cls(*await asyncio.open_connection(sock=sock))

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()


class Processes:
    """Starts replicas, and can kill them. `fail`: how many of the next starts come to nothing."""

    def __init__(self, control: Path) -> None:
        self.control = control
        self.running: dict[int, asyncio.subprocess.Process] = {}
        self.fail = 0

    async def __call__(self, number: int) -> SocketChannel:
        if self.fail:
            self.fail -= 1
            raise BentoError("no box has room")
        ours, theirs = socket.socketpair()
        with theirs:
            self.running[number] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.onion.balancing", str(self.control)),
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
            )
        return await SocketChannel.over(ours)

    async def kill(self, number: int) -> None:
        self.running[number].send_signal(signal.SIGKILL)
        await self.running[number].wait()

    async def close(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def network_of(control: Path) -> AsyncIterator[Network]:
    async with await control_of(control) as controller:
        network = Network(controller)
        try:
            yield network
        finally:
            await network.close()


async def main(control: Path, number: int) -> None:
    async with network_of(control) as network:
        await Replica(network, await SocketChannel.over(socket.socket(fileno=number))).run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
