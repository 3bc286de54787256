"""Somebody at a box's door who writes down everything that passes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from bento.client.box import Box
from bento.client.route import UnixRoute


@dataclass
class Recording:
    """One connection: (seconds, whether from the client, bytes) of each piece."""

    pieces: list[tuple[float, bool, bytes]] = field(default_factory=list)

    def sent(self, by_client: bool) -> bytes:
        return b"".join(data for _, mine, data in self.pieces if mine is by_client)


class DoorTap:
    """In front of a local box; `recordings` are those of its connections in their order."""

    def __init__(self, local):
        self._local = local
        self._path = local.config.run / "tap"
        self._tasks = set()
        self.recordings: list[Recording] = []

    @property
    def box(self) -> Box:
        """What a client behind the tap has of the box."""
        return Box(self._local.box.name, UnixRoute(str(self._path)))

    @property
    def seen(self) -> bytes:
        """All of it, connection by connection and way by way."""
        return b"".join(one.sent(way) for one in self.recordings for way in (True, False))

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_unix_server(self._connection, self._path)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._path.unlink()

    async def _connection(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        recording = Recording()
        self.recordings.append(recording)
        far_reader, far_writer = await asyncio.open_unix_connection(self._local.path)
        try:
            await asyncio.gather(
                self._pump(recording, True, reader, far_writer),
                self._pump(recording, False, far_reader, writer),
            )
        finally:
            writer.close()
            far_writer.close()

    async def _pump(self, recording, mine, source, sink):
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 20):
                recording.pieces.append((time.perf_counter(), mine, data))
                sink.write(data)
            sink.write_eof()
