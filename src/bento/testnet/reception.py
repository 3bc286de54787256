"""Where a supervisor answers: a unix socket on which anybody of this user may ask.

Invariant: whoever watches hears every step, then exactly one conclusion, or the end of the
connection if the supervisor dies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bento.testnet.messages import MAX_LINE, Answer, Status, Step, decode_ask, encode

_FAREWELL = 5.0
"""Seconds for the last words to reach those who listen."""


class Reception:
    """`status()` gives the answer to `status`; `stop()` begins to stop.

    `abandoned` is set when the last watcher has left before a conclusion.
    """

    def __init__(self, status: Callable[[], Answer], stop: Callable[[], None]) -> None:
        self.abandoned = asyncio.Event()
        self._status = status
        self._stop = stop
        self._path: Path | None = None
        self._server: asyncio.Server | None = None
        self._steps: dict[str, Answer] = {}
        self._conclusion: Answer | None = None
        self._news = asyncio.Event()
        self._watchers = 0
        self._visited = asyncio.Event()
        self._over = asyncio.Event()
        self._conversations: set[asyncio.Task[None]] = set()

    async def open(self, path: Path) -> None:
        """Begin to listen."""
        self._path = path
        self._server = await asyncio.start_unix_server(self._accept, path, limit=MAX_LINE)

    async def first_watcher(self, patience: float) -> bool:
        """Wait until somebody watches; False if nobody came in `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._visited.wait()
        except TimeoutError:
            return False
        return True

    def tell(self, step: Step) -> None:
        """Tell all watchers of a step."""
        self._steps.pop(step.what, None)  # so that the latest is the last
        self._steps[step.what] = Answer(step=step)
        self._wake()

    def conclude(self, answer: Answer) -> None:
        """Tell all watchers how the start ended. Only the first conclusion counts."""
        self._conclusion = self._conclusion or answer
        self._wake()

    def shut(self) -> None:
        """Let nobody in any more."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Give everybody their last answer; everything else has ended."""
        self.shut()
        self._over.set()
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=_FAREWELL)
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    # -- inside ------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            ask = decode_ask(await reader.readline())
            await self._ANSWERS[ask.do](self, reader, writer)
            await writer.drain()

    async def _answer_status(
        self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(encode(self._status()))

    async def _answer_down(
        self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._stop()
        await self._over.wait()
        writer.write(encode(Answer(status=Status())))

    async def _answer_watch(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._watchers += 1
        self._visited.set()
        gone = asyncio.ensure_future(_end_of(reader))
        try:
            await self._show(writer, gone)
        finally:
            gone.cancel()
            self._watchers -= 1
            if not self._watchers and self._conclusion is None:
                self.abandoned.set()

    async def _show(self, writer: asyncio.StreamWriter, gone: asyncio.Future[None]) -> None:
        told: dict[str, Answer] = {}
        while not gone.done():
            news = asyncio.ensure_future(self._news.wait())
            for what, answer in self._steps.items():
                if told.get(what) is not answer:
                    writer.write(encode(answer))
            told = dict(self._steps)
            if self._conclusion is not None:
                writer.write(encode(self._conclusion))
                news.cancel()
                return
            ends: list[asyncio.Future[Any]] = [news, gone]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    _ANSWERS = {"status": _answer_status, "watch": _answer_watch, "down": _answer_down}


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(MAX_LINE):
            pass  # a watcher has nothing more to say
