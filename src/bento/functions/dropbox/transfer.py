"""Bytes into a dropbox and out of it, as they are: nothing here knows keys or files.

Whoever resumes calls the same again: the box says how much it has of a put, `offset` says how much
of a get is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from bento.errors import BoxError, RemoteProtocolError
from bento.protocol.manifest import amended, manifest_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from bento.client.box import Box
    from bento.client.conclave import Trust
    from bento.client.instance import Instance
    from bento.client.session import Session

MIB = 1 << 20
_MEMORY = 96 * MIB
"""What the function needs beside the file: the interpreter, and a spool (1 MiB) of as many sessions as
an instance keeps, were all left by their clients."""

_ROUND = (
    4 * MIB
)  # terms are asked for in steps: the box learns the size from the file itself anyway
STALL_SECONDS = 120.0
"""Without a byte: longer than any circuit that still works pauses."""

_CONFIRMED = b"\x01"
_LONGEST_STATUS = 4096  # bytes: eight numbers
_MOST = 1 << 37  # bytes, gets, or seconds since 1970: the year 6325
_STATUS = {
    **dict.fromkeys(("size", "stored", "disk", "served", "expires"), False),
    **dict.fromkeys(("gets", "gets_left", "max_bytes"), True),
}
"""What a status holds -> whether it may be null."""


@dataclass(frozen=True)
class Rules:
    """When a dropbox ends: after so many gets or bytes (0: no such limit), at the latest after `seconds`."""

    gets: int = 0
    max_bytes: int = 0
    seconds: int = 86400


def upload() -> bytes:
    """The function: the same bytes everywhere, since their SHA-256 is its hash."""
    return (resources.files(__package__) / "guest.py").read_bytes()


async def install(box: Box, size: int, rules: Rules, trust: Trust | None = None) -> Instance:
    """A dropbox with room for `size` bytes, in a conclave with `trust`.

    Raises PolicyError when this box cannot give so much."""
    function = upload()
    disk = -(-size // _ROUND) * _ROUND + _ROUND
    terms = amended(
        manifest_text(function), disk=disk, memory=disk + _MEMORY, lifetime=rules.seconds
    )
    return await box.install(function, trust, manifest=terms)


async def store(
    instance: Instance,
    size: int,
    pieces: AsyncIterable[bytes],
    rules: Rules,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Puts the `size` bytes of `pieces`, those left out that the box has already.

    Raises BoxError unless the box stored exactly these bytes."""
    async with await instance.invoke(
        "put", size=size, gets=rules.gets, max_bytes=rules.max_bytes
    ) as session:
        answer = _Answer(session)
        have = int.from_bytes(await answer.exactly(8))
        digest = await _send(session, answer, pieces, have, progress)
        if await answer.exactly(len(digest)) != digest:
            raise BoxError(
                "the box stored something else than it was sent", "put it on another box"
            )
        await answer.end()


async def _send(
    session: Session,
    answer: _Answer,
    pieces: AsyncIterable[bytes],
    have: int,
    progress: Callable[[int], None] | None,
) -> bytes:
    """Sends what lies behind byte `have`; the SHA-256 of everything."""
    digest = hashlib.sha256()
    at = 0
    try:
        async for piece in pieces:
            digest.update(piece)
            fresh = piece[max(0, have - at) :]
            at += len(piece)
            if fresh:
                await session.send(fresh)
            if progress is not None:
                progress(at)
    except BoxError:
        await answer.end()  # raises why the function ended, if it said so
        raise
    return digest.digest()


class Fetching:
    """One get under way. Iterate over it for the bytes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pieces = aiter(session)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Raises BoxError when it stalls: a box that holds back the end is no better than a dead one."""
        try:
            async with asyncio.timeout(STALL_SECONDS):
                return await anext(self._pieces)
        except TimeoutError:
            raise BoxError(
                f"the box sent nothing for {STALL_SECONDS:g} s",
                "the same command goes on where it stopped",
            ) from None

    async def confirm(self) -> None:
        """Tells the box that everything arrived and is right. Whether it still hears it is its affair."""
        with contextlib.suppress(BoxError):
            await self._session.send(_CONFIRMED)
            await self._session.close_input()
            async for _ in self._session:
                pass


@contextlib.asynccontextmanager
async def fetching(
    instance: Instance, name: bytes, offset: int, size: int = 0
) -> AsyncIterator[Fetching]:
    """A get called `name` of the bytes from `offset` on: `size` of them, or (0) all. Only a get of all
    can be confirmed."""
    async with await instance.invoke("get", name=name, offset=offset, size=size) as session:
        yield Fetching(session)


async def load(instance: Instance, name: bytes, offset: int, take: Callable[[bytes], bool]) -> None:
    """Gets the bytes from `offset` on. `take` is given each piece and returns True with the last,
    once it holds everything and has checked it: then the box is told so.

    Raises whatever `take` raises, and RemoteProtocolError when the bytes end too early."""
    async with fetching(instance, name, offset) as pieces:
        async for piece in pieces:
            if take(piece):
                await pieces.confirm()
                return
    raise RemoteProtocolError(
        "the box sent less than the whole file", "try again, or ask for another copy"
    )


async def status(instance: Instance) -> dict[str, Any]:
    """What the dropbox says of itself (see guest.Drop.describe): its word, in the form it should have."""
    text = b""
    async with await instance.invoke("status") as session:
        async for piece in session:
            text += piece
            if len(text) > _LONGEST_STATUS:
                raise _no_status()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise _no_status() from None
    if not isinstance(said, dict) or said.keys() != _STATUS.keys():
        raise _no_status()
    for name, optional in _STATUS.items():
        value = said[name]
        if not (value is None and optional) and not (type(value) is int and 0 <= value <= _MOST):
            raise _no_status()
    return said


def _no_status() -> RemoteProtocolError:
    return RemoteProtocolError("the box did not describe its dropbox", "try another box")


class _Answer:
    """An answer read in pieces of a known size."""

    def __init__(self, session: Session) -> None:
        self._pieces: AsyncIterator[bytes] = aiter(session)
        self._held = bytearray()

    async def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            if not (piece := await self._next()):
                raise RemoteProtocolError("the dropbox said less than it should", "try again")
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    async def end(self) -> None:
        """Waits for the end. Raises what the function failed with."""
        if self._held or await self._next():
            raise RemoteProtocolError("the dropbox said more than it should")

    async def _next(self) -> bytes:
        """b"" behind the last piece."""
        return await anext(self._pieces, b"")
