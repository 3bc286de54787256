# /// bento
# image = "python"
# memory = "64 MiB"
# cpu = 0.5
# relays = true
# tor = ["directory", "guards"]
# ///
"""An onion service that speaks Tor's own protocol from inside a box: its key, its introduction points and
its visitors' streams are the function's alone; the tor beside it only says what the consensus is.

    .venv/bin/python -m bento.functions.cells examples/onion_cells.py > service.zip
    .venv/bin/bento run service.zip

`/` is the greeting, `/N` are N bytes. It serves until its input ends; another call of the same instance
goes on with the same key at the same introduction points, so that visitors find it at once.
"""

import asyncio
from contextlib import suppress

from bento.onion import Network, OnionIdentity, OnionService, join
from bento.tor.controller import Controller

SAVE_SECONDS = 5
CHUNK = bytes(64 * 1024)


async def main(api, greeting: str = "Hello from inside a box.\n"):
    identity, points = kept(api.data / "identity"), api.data / "points"
    async with await Controller.connect("127.0.0.1:9051") as control:
        await control.authenticate()
        network = Network(control)
        door = Door(network, greeting.encode())
        old = points.read_bytes() if points.exists() else b""
        door.service = OnionService(identity, network, door, kept_points=old)
        await door.service.start()
        await door.service.published()
        await api.send(f"http://{identity.address}.onion/\n")
        waiting = True
        while waiting:
            with suppress(TimeoutError):
                waiting = bool(await api.recv(timeout=SAVE_SECONDS))
            points.write_bytes(door.service.kept_points())
        await door.service.close()
        await network.close()


def kept(path):
    """The service's key: made once, in memory that ends with the instance."""
    if not path.exists():
        path.write_bytes(OnionIdentity.generate().to_c_tor_file())
    return OnionIdentity.from_c_tor_file(path.read_bytes())


class Door:
    """Joins each visitor at the place where it waits, and answers its requests."""

    def __init__(self, network, greeting):
        self.network, self.greeting, self.tasks = network, greeting, set()

    def __call__(self, visitor):
        increment = self.service.sendme_increment
        self.begin(join(self.network, visitor, self.stream, sendme_increment=increment))

    def stream(self, incoming):
        if incoming.begin.port == 80:
            self.begin(self.answer(incoming.accept()))
        else:
            incoming.refuse()

    def begin(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.done)

    def done(self, task):
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a visitor who went away is nobody's trouble

    async def answer(self, stream):
        request = b""
        while b"\r\n\r\n" not in request and (more := await stream.read()):
            request += more
        asked = request.split(b" ")[1][1:] if b" " in request else b""
        size = int(asked) if asked.isdigit() else len(self.greeting)
        await stream.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        if not asked.isdigit():
            await stream.write(self.greeting)
        while asked.isdigit() and size:
            size -= await self.send(stream, size)
        stream.close()

    async def send(self, stream, size):
        piece = CHUNK[:size]
        await stream.write(piece)
        return len(piece)
