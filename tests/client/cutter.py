"""A way to a box that breaks: what passes is counted, and cut where the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path


class Cutter:
    """Forwards connections to the unix socket `target`. Before each piece `cut(up, down)` is asked, with
    the bytes of this connection so far from and to the client, whether it breaks here."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.cut: Callable[[int, int], bool] = lambda up, down: False
        self.cuts = 0
        self.up = self.down = 0  # bytes of all connections
        self.connections = 0
        self._target = target
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Cutter:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def break_all(self) -> None:
        """Every connection breaks now."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        passed = [0, 0]
        with contextlib.suppress(OSError, asyncio.CancelledError):
            inner, outer = await asyncio.open_unix_connection(str(self._target))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, outer, passed, 0))
                    group.create_task(self._pass(inner, writer, passed, 1))
            except* (_Cut, OSError):
                pass
            finally:
                outer.transport.abort()
        writer.transport.abort()
        self._tasks.discard(task)

    async def _pass(self, source, sink, passed, way) -> None:
        while data := await source.read(1 << 14):
            if self.cut(*passed):
                self.cuts += 1
                raise _Cut
            passed[way] += len(data)
            self.up += len(data) * (not way)
            self.down += len(data) * way
            sink.write(data)
            await sink.drain()
        sink.write_eof()


class _Cut(Exception):
    pass
