"""What `run`, `invoke` and `attach` share: words to arguments, stdin to input, answer to stdout."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento.cli.output import say
from bento.errors import UsageError

if TYPE_CHECKING:
    from bento.client.session import Session

_PIECE = 1 << 16
_LARGEST = 1 << 20  # 1,000 blinded passes are 350 kB


def read_upload(path: str) -> bytes:
    """The function in `path`. Raises UsageError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "name a file that is there"
        ) from None


def read_small(path: Path) -> bytes:
    """A small file that somebody sent. Raises UsageError when it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise UsageError(f"{path} is too large", "name the file you were sent")
    return data


def parse_words(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """`name=value` becomes a named argument, anything else a positional one; `@FILE` its bytes."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            if name in kwargs:
                raise UsageError(f"the argument {name!r} is given twice")
            kwargs[name] = _value(value)
        else:
            args.append(_value(word))
    return args, kwargs


def _value(word: str) -> Any:
    return read_upload(word[1:]) if word.startswith("@") else word


async def converse(session: Session) -> int:
    """Sends stdin as input while the answer goes to stdout; returns the answer's length."""
    feeding = asyncio.create_task(_feed(session))
    size = 0
    try:
        async for piece in session:
            await asyncio.to_thread(_write, piece)
            size += len(piece)
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    return size


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


async def _feed(session: Session) -> None:
    """Input from stdin, without a thread that could not be stopped."""
    if not _can_be_waited_for(0):
        await _feed_file(session)
        return
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0), "rb", 0)
    )
    try:
        while piece := await reader.read(_PIECE):
            await session.send(piece)
        await session.close_input()
    finally:
        transport.close()


def _can_be_waited_for(descriptor: int) -> bool:
    """A pipe, socket or terminal; a file or /dev/null is always ready and epoll refuses it."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


async def _feed_file(session: Session) -> None:
    try:
        with open(os.dup(0), "rb", 0) as file:
            while piece := file.read(_PIECE):
                await session.send(piece)
    except OSError:
        pass  # stdin is closed: there is no input
    await session.close_input()


def show_log(line: str) -> None:
    """What the function logged or printed, for its owner."""
    say(f"| {line}")
