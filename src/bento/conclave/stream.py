"""The client's channel over an asyncio connection: attest, then read and write.

    stream = await AttestedStream.open(reader, writer, channel)
    stream.write(function)
    while data := await stream.read(65536): ...

It has the methods of a StreamReader and of a StreamWriter, so that code written for those two works
on it. Invariant: `open` returns only a channel whose evidence was accepted; an end the guest did not
announce is an error, so a box cannot pass off a cut as an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self

if TYPE_CHECKING:
    from bento.conclave.channel import ClientChannel
    from bento.conclave.verdict import Verdict

_READ: Final = 65536  # bytes asked of the connection at a time


class Reader(Protocol):
    async def read(self, size: int = -1, /) -> bytes: ...


class Writer(Protocol):
    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


class AttestedStream:
    """Made by `open`."""

    def __init__(self, reader: Reader, writer: Writer, channel: ClientChannel) -> None:
        self._reader, self._writer, self._channel = reader, writer, channel
        self._received = bytearray()
        self._ended = False

    @classmethod
    async def open(
        cls,
        reader: Reader,
        writer: Writer,
        channel: ClientChannel,
        early: bytes = b"",
    ) -> Self:
        """Handshake and evidence; `early` was read from the connection already. On refusal the
        connection is closed.

        To save a round trip, send `channel.outgoing()` together with the request to the box.
        Raises AttestationError, RemoteProtocolError, OSError (a cut is one).
        """
        stream = cls(reader, writer, channel)
        try:
            stream._take(early)
            while not channel.open:
                await stream.drain()
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

    async def read(self, size: int = -1) -> bytes:
        """At least one byte and at most `size`; b"" after the guest's announced end.

        Raises ConnectionResetError on a cut.
        """
        while not self._received and not self._channel.closed:
            await self._fill()
        data = bytes(self._received if size < 0 else self._received[:size])
        del self._received[: len(data)]
        return data

    def write(self, data: bytes) -> None:
        """Encrypt and queue; `drain` waits until the connection has room.

        After either end nothing is sent any more, as on a closed socket."""
        if not (self._ended or self._channel.closed):
            self._channel.send(data)
            self._flush()

    async def drain(self) -> None:
        self._flush()
        await self._writer.drain()

    def close(self) -> None:
        """Announce the end and close the connection once all is written. Idempotent."""
        if not self._ended:
            self._ended = True
            self._channel.finish()
            self._flush()
            self._writer.close()

    async def wait_closed(self) -> None:
        await self._writer.wait_closed()

    async def _fill(self) -> None:
        data = await self._reader.read(_READ)
        if not data:
            raise ConnectionResetError("the connection to the conclave was cut")
        self._take(data)

    def _take(self, data: bytes) -> None:
        for payload in self._channel.receive(data):
            self._received += payload

    def _flush(self) -> None:
        if data := self._channel.outgoing():
            self._writer.write(data)
