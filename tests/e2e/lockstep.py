"""Counts round trips at the wire: between a user's own tor and its guards.

tor dials its relays through this SOCKS proxy (option Socks5Proxy). Once armed, the proxy moves bytes in
turns: everything one side sends until it falls silent, then everything the other side answers. A turn
of the user's side is one flight; a flight and its answer are one round trip. No clock decides the
result but the length of a silence, and too short a silence could only count too many.
"""

from __future__ import annotations

import asyncio
import contextlib

from tests.relay_proxy import through

SILENCE = 0.6  # seconds without a byte that end a side's turn


class Lockstep:
    def __init__(self):
        self.flights = 0
        self.armed = False
        self._held = {"out": [], "in": []}
        self._last = 0.0
        self._tasks = set()

    def arm(self):
        self.flights, self.armed = 0, True

    def disarm(self):
        """What is held leaves at once, before anything that comes later."""
        self.armed = False
        for way in self._held:
            self._release(way)

    def _release(self, way):
        for sink, data in self._held[way]:
            sink.write(data)
        self._held[way].clear()

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        turns = asyncio.create_task(self._turns())
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            turns.cancel()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(turns, *self._tasks, return_exceptions=True)

    async def _connection(self, reader, writer):
        far_reader, far_writer = await through(reader, writer)
        for way, source, sink in (("out", reader, far_writer), ("in", far_reader, writer)):
            task = asyncio.create_task(self._pump(way, source, sink))
            self._tasks.add(task)

    async def _pump(self, way, source, sink):
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if self.armed:
                    self._held[way].append((sink, data))
                    self._last = asyncio.get_running_loop().time()
                else:
                    sink.write(data)
            sink.close()

    async def _turns(self):
        loop = asyncio.get_running_loop()
        way = "out"
        while True:
            await asyncio.sleep(0.05)
            if not self._held[way] and self._held["in" if way == "out" else "out"]:
                way = "in" if way == "out" else "out"  # only the other side has something to say
            if self._held[way] and loop.time() - self._last > SILENCE:
                if way == "out":
                    self.flights += 1
                self._release(way)
                self._last = loop.time()
                way = "in" if way == "out" else "out"
