"""The client's channel over an asyncio connection: attest, then send and receive messages.

    async with await AttestedStream.open(reader, writer, channel) as stream:
        await stream.send(function)
        while (piece := await stream.receive()) is not None: ...

Invariant: `open` returns only a channel whose evidence was accepted; an end the guest did not
announce is an error, so a box cannot pass off a cut as an answer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Self

from bento.errors import RemoteProtocolError

if TYPE_CHECKING:
    import asyncio

    from bento.conclave.channel import ClientChannel
    from bento.conclave.verdict import Verdict

_READ: Final = 65536  # bytes asked of the connection at a time


class AttestedStream:
    """Made by `open`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: ClientChannel
    ) -> None:
        self._reader, self._writer, self._channel = reader, writer, channel
        self._waiting: deque[bytes] = deque()

    @classmethod
    async def open(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: ClientChannel
    ) -> Self:
        """Handshake and evidence. On refusal the connection is closed.

        Raises AttestationError, RemoteProtocolError, OSError.
        """
        stream = cls(reader, writer, channel)
        try:
            while not channel.open:
                await stream._flush()
                await stream._fill()
        except BaseException:
            writer.close()
            raise
        return stream

    @property
    def verdict(self) -> Verdict:
        """Why this conclave was accepted."""
        verdict = self._channel.verdict
        assert verdict is not None  # `open` returned
        return verdict

    async def send(self, payload: bytes) -> None:
        """Send one message; waits while the connection is full."""
        self._channel.send(payload)
        await self._flush()

    async def receive(self) -> bytes | None:
        """The next piece of data, or None after the guest's announced end.

        A message longer than a frame arrives in pieces. Raises RemoteProtocolError on a cut.
        """
        while not self._waiting:
            if self._channel.closed:
                return None
            await self._fill()
        return self._waiting.popleft()

    async def close(self) -> None:
        """Announce the end and close the connection."""
        self._channel.finish()
        try:
            await self._flush()
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            self._writer.close()  # the other side left first

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _fill(self) -> None:
        data = await self._reader.read(_READ)
        if not data:
            raise RemoteProtocolError("the connection to the conclave was cut")
        self._waiting += self._channel.receive(data)

    async def _flush(self) -> None:
        if data := self._channel.outgoing():
            self._writer.write(data)
            await self._writer.drain()
