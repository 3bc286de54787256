"""An observer of a user's line: `python -m tests.functions.cover.tap FILE`, a process of its own.

The user's tor dials its relays through this SOCKS proxy (option Socks5Proxy), so all of its connections
pass here. Noted is what anybody on the line can read without a key: when a TLS record came, which way, and
how many cells fit into it (514 bytes each, and 17 of the record's own). Prints its address; on SIGTERM
what was noted is in FILE, a line for each record: connection, nanoseconds, direction, cells.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
import time

from tests.relay_proxy import through

CELL, OVERHEAD = 514, 17
_APPLICATION_DATA = 23  # RFC 8446
_HEAD = 5


class Records:
    """TLS records of one direction of one connection."""

    def __init__(self, connection, direction, notes):
        self._mark = connection, direction
        self._notes = notes
        self._rest = bytearray()

    def feed(self, data):
        now = time.monotonic_ns()
        self._rest += data
        while len(self._rest) >= _HEAD:
            size = int.from_bytes(self._rest[3:_HEAD], "big")
            if len(self._rest) < _HEAD + size:
                return
            cells, odd = divmod(size - OVERHEAD, CELL)
            if self._rest[0] == _APPLICATION_DATA and not odd:
                connection, direction = self._mark
                self._notes.append((connection, now, direction, cells))
            del self._rest[: _HEAD + size]


class Tap:
    def __init__(self):
        self.notes = []
        self._numbers = itertools.count()
        self._tasks = set()

    async def enter(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            far_reader, far_writer = await through(reader, writer)
            number = next(self._numbers)
            await asyncio.gather(
                self._pump(reader, far_writer, Records(number, 1, self.notes)),
                self._pump(far_reader, writer, Records(number, -1, self.notes)),
            )

    async def _pump(self, source, sink, records):
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                records.feed(data)
                sink.write(data)
        sink.close()


async def main(path):
    tap, stop = Tap(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(tap.enter, "127.0.0.1", 0)
    print(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    with open(path, "w") as file:
        file.writelines(f"{' '.join(map(str, note))}\n" for note in tap.notes)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
