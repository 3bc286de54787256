"""A function on its way to its guest: sent once, and after a break from where it stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bento.client.persistence import Broken
from bento.client.session import failure
from bento.errors import RemoteProtocolError
from bento.protocol import limits
from bento.protocol.padding import UPLOAD_CLASS, fill, pack
from bento.protocol.session import (
    ANYWHERE,
    Code,
    Failed,
    Granted,
    Load,
    Loaded,
    Loading,
    client_reader,
)
from bento.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bento.client.door import Pipe

_READ = 1 << 16


class Upload:
    """`upload` is what the guest was told the hash of. `begun` once the guest is known to have heard of
    it."""

    def __init__(self, upload: bytes, owner: bytes) -> None:
        self.begun = False
        self._code = pack(upload)
        self._owner = owner

    def pieces(self, follow: bytes = b"") -> Iterator[bytes]:
        """All of it and `follow`, as it leaves."""
        return self._frames(encode(Load(len(self._code), 0, self._owner)), 0, follow)

    async def send(self, pipe: Pipe, follow: bytes = b"") -> None:
        """All of it and `follow`, without waiting. Raises OSError when the connection breaks."""
        for piece in self.pieces(follow):
            pipe.writer.write(piece)
            await pipe.writer.drain()

    @property
    def inquiry(self) -> bytes:
        """Leaves with the request for a new connection, on which `resume` then goes on."""
        return encode(Load(len(self._code), ANYWHERE, self._owner))

    async def resume(self, pipe: Pipe, follow: bytes = b"") -> Pipe:
        """Sends what the guest has not, and `follow`; the pipe, with what else came through it.

        Raises FunctionError when the top level failed meanwhile, Broken or OSError when the connection
        breaks again."""
        reader = client_reader()
        data = pipe.early
        while True:
            for message in reader.feed(data):
                reader.stop()
                await self._go_on(pipe, message, follow)
                return replace(pipe, early=reader.rest())
            data = await pipe.reader.read(_READ)
            if not data:
                raise _broken()

    async def _go_on(self, pipe: Pipe, message: object, follow: bytes) -> None:
        if isinstance(message, Failed):
            raise failure(message)
        if not isinstance(message, Loading) or message.received > len(self._code):
            raise RemoteProtocolError("the guest does not say where the upload goes on")
        self.begun = True
        for piece in self._frames(b"", message.received, follow):
            pipe.writer.write(piece)
            await pipe.writer.drain()

    async def loaded(self, pipe: Pipe, on_grant: Callable[[bytes], None]) -> None:
        """Returns once the function is there; `on_grant` hears the token that a conclave grants then.
        Raises FunctionError when its top level fails, Broken when the connection does."""
        reader = client_reader()
        data = pipe.early
        while True:
            for message in reader.feed(data):
                self.begun = True
                if isinstance(message, Loaded):
                    return
                if isinstance(message, Failed):
                    raise failure(message)
                if isinstance(message, Granted):
                    on_grant(message.token)
                elif not isinstance(message, Loading):
                    raise RemoteProtocolError("the guest answered an upload with something else")
            data = await pipe.reader.read(_READ)
            if not data:
                raise _broken()

    def _frames(self, head: bytes, offset: int, follow: bytes) -> Iterator[bytes]:
        """A small upload and what goes with it are one piece: one write, one turn of every loop it
        passes. All of it together has a size of its class."""
        piece, size = head, len(follow)
        for start in range(offset, len(self._code), limits.CHUNK):
            piece += encode(Code(self._code[start : start + limits.CHUNK]))
            size += len(piece)
            if start + limits.CHUNK < len(self._code):
                yield piece
                piece = b""
        yield piece + follow + fill(size, UPLOAD_CLASS)


def _broken() -> Broken:
    return Broken("the connection broke during the upload", "install again")
