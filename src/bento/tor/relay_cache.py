"""The list of boxes on disk.

Invariant: a file that is not exactly of our form is no cache, never an error; a reader sees a
whole file, or the whole one before it; one program at a time makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from bento.errors import HostError, UsageError
from bento.tor.boxes import RelayEntry

_VERSION = 2
_MAX_SIZE = 32 * 1024 * 1024  # bytes: 20,000 boxes of 1.5 KB
_POLL = 0.05  # seconds between two tries for the lock


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    saved_at: float  # seconds since 1970
    boxes: list[RelayEntry]


def load(path: Path, max_age: float) -> list[RelayEntry] | None:
    """The boxes kept in `path` less than `max_age` seconds ago; None if there are none such."""
    try:
        with path.open("rb") as file:
            content = msgspec.json.decode(file.read(_MAX_SIZE), type=_File)
    except (OSError, msgspec.MsgspecError, UsageError):
        return None
    age = time.time() - content.saved_at
    return content.boxes if content.version == _VERSION and 0 <= age < max_age else None


def save(path: Path, boxes: list[RelayEntry]) -> None:
    """Keep `boxes` in `path`, for its owner only. Raises HostError if that cannot be."""
    content = msgspec.json.encode(_File(_VERSION, time.time(), boxes))
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(content)
        new.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


@contextlib.asynccontextmanager
async def exclusively(path: Path) -> AsyncIterator[None]:
    """No other program is inside this for the same `path`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        # The kernel gives the lock back when its holder dies, however it dies.
        while not _lock(lock):  # noqa: ASYNC110  (another process cannot set an Event)
            await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(lock)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unwritable(path: Path, error: OSError) -> HostError:
    return HostError(f"cannot keep the list of boxes in {path}: {error.strerror}")
