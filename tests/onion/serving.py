"""What the tests serve and how they ask: shared by tests, replicas in other processes, benchmarks.

As a program: a replica. It joins the client whose record (hex) is on its standard input.
    python -m tests.onion.serving CONTROL_SOCKET SENDME_INCREMENT
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
import sys
from pathlib import Path

from bento.errors import TorError
from bento.onion import handover, rendezvous
from bento.onion.network import Network
from bento.onion.relay import EndReason
from bento.onion.stream import IncomingStream, Stream
from bento.tor.controller import Controller


async def control_of(path: Path) -> Controller:
    """A control connection to the tor whose socket is at `path`."""
    controller = await Controller.connect(f"unix:{path}")
    await controller.authenticate()
    return controller


@functools.lru_cache(4)
def blob(size: int) -> bytes:
    """The same bytes everywhere, for every size."""
    return random.Random(size).randbytes(size)


class Server:
    """Answers request lines on onion streams to port 80; refuses other ports."""

    def __init__(self, name: str = "server") -> None:
        self.name = name
        self.opened = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, incoming: IncomingStream) -> None:
        if incoming.begin.port != 80:
            incoming.refuse(EndReason.DONE)
            return
        self.opened += 1
        task = asyncio.ensure_future(self._serve(incoming.accept()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream) -> None:
        try:
            line = b""
            while not line.endswith(b"\n"):
                part = await stream.read()
                if not part:
                    return
                head, newline, rest = (line + part).partition(b"\n")
                line = head + newline
            verb, _, argument = line.decode().strip().partition(" ")
            await getattr(self, f"_{verb}")(stream, argument, rest)
        except TorError:
            pass
        finally:
            stream.close()

    async def _get(self, stream: Stream, argument: str, rest: bytes) -> None:
        await stream.write(blob(int(argument)))

    async def _put(self, stream: Stream, argument: str, rest: bytes) -> None:
        data = bytearray(rest)
        while len(data) < int(argument):
            data += await stream.read()
        await stream.write(hashlib.sha256(data).hexdigest().encode())

    async def _name(self, stream: Stream, argument: str, rest: bytes) -> None:
        await stream.write(self.name.encode())

    async def _hang(self, stream: Stream, argument: str, rest: bytes) -> None:
        await stream.read()


async def socks(proxy: tuple[str, int], host: str, port: int, user: str = "") -> tuple:
    """A stream through a C-tor client; ConnectionError with the SOCKS reply when refused."""
    reader, writer = await asyncio.open_connection(*proxy)
    name = user.encode() or b"x"
    writer.write(b"\5\1\2")
    assert await reader.readexactly(2) == b"\5\2"
    writer.write(b"\1" + bytes([len(name)]) + name + b"\1x")
    assert await reader.readexactly(2) == b"\1\0"
    writer.write(b"\5\1\0\3" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big"))
    reply = await reader.readexactly(10)
    if reply[1]:
        writer.close()
        raise ConnectionError(f"SOCKS reply {reply[1]:#x}")
    return reader, writer


async def fetch(proxy: tuple[str, int], host: str, request: bytes, user: str = "") -> bytes:
    """All that comes back for one request to port 80."""
    reader, writer = await socks(proxy, host, 80, user)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def replica(control: Path, increment: int | None) -> None:
    controller = await control_of(control)
    network = Network(controller)
    record = handover.parse(bytes.fromhex(sys.stdin.readline()))
    circuit = await rendezvous.join(network, record, Server("replica"), sendme_increment=increment)
    print("joined", flush=True)
    await circuit.closed
    await network.close()
    await controller.close()


if __name__ == "__main__":
    asyncio.run(replica(Path(sys.argv[1]), int(sys.argv[2]) or None))
