"""The Chrome DevTools Protocol over a pipe: JSON messages, each ended by a NUL byte.

One thread, no event loop: `pump` waits for messages and hands each to whom it belongs, an answer to
the `then` of its `send`, an event to its handler. A handler sends, and never waits.
Chromium parses what the web sends, so its messages are not trusted: bounded, and read through
Fields, which gives each value with its type or raises CdpError.
Reference: https://chromedevtools.github.io/devtools-protocol/ ("tot"). Standard library only.
"""

import base64
import json
import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The largest honest message is an MHTML page as a JSON string (limits.py: 24 MiB before that)."""

READ_BYTES = 1024 * 1024
CALL_SECONDS = 30.0
"""For one answer, on a busy machine; commands that wait for the web go through `send`."""


class CdpError(Exception):
    """Chromium refused a command, did not answer, or answered nonsense."""


class ChromiumGoneError(CdpError):
    """The pipe is closed: there is no Chromium at the other end any more."""


class Fields:
    """A JSON object whose values have the types that are asked for; what is absent is empty."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[str, object]) -> None:
        self._raw = raw

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def text(self, name: str) -> str:
        value = self._raw.get(name, "")
        if not isinstance(value, str):
            raise CdpError(f"{name} is not a string")
        return value

    def number(self, name: str) -> float:
        value = self._raw.get(name, 0)
        if not isinstance(value, int | float):
            raise CdpError(f"{name} is not a number")
        return value

    def binary(self, name: str) -> bytes:
        """Bytes, which JSON holds as base64."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except ValueError as error:
            raise CdpError(f"{name} is not base64") from error

    def flag(self, name: str) -> bool:
        return self._raw.get(name) is True

    def fields(self, name: str) -> "Fields":
        value = self._raw.get(name, {})
        if not isinstance(value, dict):
            raise CdpError(f"{name} is not an object")
        return Fields(value)

    def each(self, name: str) -> "list[Fields]":
        value = self._raw.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise CdpError(f"{name} is not a list of objects")
        return [Fields(item) for item in value]

    def texts(self) -> dict[str, str]:
        """Those of its values that are strings."""
        return {name: value for name, value in self._raw.items() if isinstance(value, str)}


Handler = Callable[[Fields], None]
Refused = Callable[[str], None]


def ignore(_: object) -> None:
    """For answers and refusals that do not matter, as for a request which is gone by now."""


@dataclass(slots=True)
class _Waiting:
    then: Handler
    refused: Refused


class Connection:
    """One Chromium's pipe. Both descriptors are owned, and closed by `close`."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._buffer = bytearray()
        self._searched = 0
        self._next_id = 1
        self._waiting: dict[int, _Waiting] = {}
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._open = True

    def on(self, event: str, handler: Handler, session: str = "") -> None:
        """Has `handler` called with the parameters of each such event of that session."""
        self._handlers[session, event] = handler

    def send(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        session: str = "",
        then: Handler = ignore,
        refused: Refused = ignore,
    ) -> None:
        """Sends a command; its answer is handed to `then` or `refused` by a later `pump`."""
        message: dict[str, object] = {"id": self._next_id, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        self._waiting[self._next_id] = _Waiting(then, refused)
        self._next_id += 1
        self._write(json.dumps(message).encode() + b"\0")

    def call(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        session: str = "",
        timeout: float = CALL_SECONDS,
    ) -> Fields:
        """Sends a command and pumps until its answer is there. Raises CdpError."""
        answers: list[Fields] = []
        refusals: list[str] = []
        self.send(method, params, session=session, then=answers.append, refused=refusals.append)
        until = time.monotonic() + timeout
        while not answers and not refusals:
            left = until - time.monotonic()
            if left <= 0:
                raise CdpError(f"Chromium did not answer {method} within {timeout:g} s")
            self.pump(left)
        if refusals:
            raise CdpError(f"Chromium refused {method}: {refusals[0]}")
        return answers[0]

    def pump(self, timeout: float) -> None:
        """Handles what has arrived; waits up to `timeout` seconds if that is nothing."""
        if not self._dispatch() and self._wait(timeout):
            self._dispatch()

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._reader)
            os.close(self._writer)

    # --- the pipe ----------------------------------------------------------------------------

    def _wait(self, timeout: float) -> bool:
        readable, _ = self._ready(timeout)
        return readable and self._read()

    def _ready(self, timeout: float, *, write: bool = False) -> tuple[bool, bool]:
        """Waits until the pipe can be read, or written if that is asked too; says which."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        if write:
            poller.register(self._writer, select.POLLOUT)
        ready = {fd for fd, _ in poller.poll(max(0.0, timeout) * 1000)}
        return self._reader in ready, self._writer in ready

    def _read(self) -> bool:
        try:
            data = os.read(self._reader, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            raise ChromiumGoneError("Chromium has closed its pipe")
        self._buffer += data
        if len(self._buffer) > MAX_MESSAGE_BYTES:
            raise CdpError("a message from Chromium is too large")
        return True

    def _write(self, data: bytes) -> None:
        """Writes all, and goes on reading meanwhile: neither side can wait for the other."""
        view = memoryview(data)
        until = time.monotonic() + CALL_SECONDS
        while view:
            readable, writable = self._ready(until - time.monotonic(), write=True)
            if not readable and not writable:
                raise CdpError("Chromium does not read its pipe")
            if readable:
                self._read()
            if writable:
                view = view[self._write_some(view) :]

    def _write_some(self, view: memoryview) -> int:
        try:
            return os.write(self._writer, view)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise ChromiumGoneError("Chromium has closed its pipe") from error

    def _dispatch(self) -> bool:
        """Handles the whole messages in the buffer; says whether there were any."""
        some = False
        while (end := self._buffer.find(b"\0", self._searched)) >= 0:
            message = bytes(memoryview(self._buffer)[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            self._handle(_parse(message))
            some = True
        self._searched = len(self._buffer)
        return some

    def _handle(self, message: Fields) -> None:
        if "method" in message:
            handler = self._handlers.get((message.text("sessionId"), message.text("method")))
            if handler:
                handler(message.fields("params"))
            return
        waiting = self._waiting.pop(int(message.number("id")), None)
        if waiting is None:
            return
        if "error" in message:
            waiting.refused(message.fields("error").text("message"))
        else:
            waiting.then(message.fields("result"))


def _parse(message: bytes) -> Fields:
    try:
        raw = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise CdpError("a message from Chromium is not JSON") from error
    if not isinstance(raw, dict):
        raise CdpError("a message from Chromium is not an object")
    return Fields(raw)
