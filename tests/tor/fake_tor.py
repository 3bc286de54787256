"""A control port that says what a test wants: for the rare things that a real tor seldom says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

Answer = str | Callable[[str], str]

LOG_IN = {
    "PROTOCOLINFO": "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK",
    "AUTHENTICATE": "250 OK",
    "SETEVENTS": "250 OK",
}


class FakeTor:
    """Answers commands by their first word from `answers`; whatever has none gets `250 OK`.

    An answer is text, or a function from the command to it; an empty one is not sent.
    `commands` holds what was asked."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.answers: dict[str, Answer] = dict(LOG_IN)
        self.commands: list[str] = []
        self._path = path
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> FakeTor:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()

    def say(self, text: str) -> None:
        """Send bytes that nobody asked for, such as an event, to everybody."""
        for writer in self._writers:
            writer.write(text.encode() + b"\r\n")

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    async def asked(self, word: str) -> str:
        """The next command that begins with `word`, waiting for it; it is then forgotten."""
        while True:
            for command in self.commands:
                if command.startswith(word):
                    self.commands.remove(command)
                    return command
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.commands.append(line)
            answer = self.answers.get(line.split(" ")[0], "250 OK")
            text = answer if isinstance(answer, str) else answer(line)
            if text:
                writer.write(text.encode() + b"\r\n")
