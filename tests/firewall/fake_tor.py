"""A control port that does what a test says, for the moments a real tor does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FakeTor:
    """Answers OK to everything; `script` may answer a line otherwise (bytes), or not at all (None).

    `lines` has every line of every connection, `writers` the connections in order.
    """

    def __init__(self, path: str, script: Callable[[str], bytes | None] | None = None) -> None:
        self.path = path
        self.lines: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.open_connections = 0
        self._script = script or (lambda line: b"250 OK\r\n")

    async def __aenter__(self) -> FakeTor:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.open_connections += 1
        try:
            while raw := await reader.readline():
                line = raw.decode().strip()
                self.lines.append(line)
                answer = self._script(line)
                if line.startswith("PROTOCOLINFO") and answer == b"250 OK\r\n":
                    answer = b'250-AUTH METHODS=NULL\r\n250-VERSION Tor="0.4.9.11"\r\n250 OK\r\n'
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.open_connections -= 1
            writer.close()
