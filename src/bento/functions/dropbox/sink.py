"""Where a fetched file goes: checked block by block, whole only under its final name."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Protocol

from bento.errors import HostError, RemoteProtocolError

from .sealing import BLOCK, Opener, sealed_offset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .sealing import Content


class Sink(Protocol):
    """`size` bytes, whose running hash is `digest`, are there already."""

    size: int

    def keep(self, size: int) -> None:
        """Goes back to the first `size` bytes."""

    def write(self, data: bytes) -> None: ...

    def sha256(self) -> bytes:
        """Of everything in it."""

    def finish(self) -> None:
        """It is whole and right."""

    def close(self) -> None: ...


if TYPE_CHECKING:
    OpenSink = Callable[[Content], Sink]


class FileSink:
    """A file that is called PATH.part until it is whole. Raises HostError when it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._digest = hashlib.sha256()
        try:
            self._file = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        except OSError as error:
            raise HostError(f"cannot write {self._part}: {error.strerror}") from None
        self.size = os.fstat(self._file.fileno()).st_size

    def keep(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(0)
        while piece := self._file.read(BLOCK):
            self._digest.update(piece)
        self.size = size

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise HostError(
                f"cannot write {self._part}: {error.strerror}",
                "make room and give the same command again: it goes on from here",
            ) from None
        self._digest.update(data)
        self.size += len(data)

    def sha256(self) -> bytes:
        return self._digest.digest()

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)

    def close(self) -> None:
        self._file.close()


class StdoutSink:
    """Each block as soon as it was checked; whether all of it came is the exit status."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.size = 0

    def keep(self, size: int) -> None:
        """Nothing is there before."""

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        self._digest.update(data)
        self.size += len(data)

    def sha256(self) -> bytes:
        return self._digest.digest()

    def finish(self) -> None:
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """It belongs to the process."""


class Receiver:
    """Sealed bytes in, a checked file out. `learned` is told what the file is, once that is known."""

    def __init__(
        self,
        key: bytes,
        open_sink: OpenSink,
        learned: Callable[[Content], None],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._key = key
        self._open_sink = open_sink
        self._learned = learned
        self._progress = progress
        self._sink: Sink | None = None
        self._opener = Opener(key)
        self._finished = False

    @property
    def content(self) -> Content | None:
        return self._opener.content

    @property
    def whole(self) -> bool:
        """The file is under its final name."""
        return self._finished

    def begin(self, known: Content | None) -> int:
        """The sealed byte to go on with, after what an earlier run left of a `known` file."""
        if known is None:
            return 0
        self._sink = self._open_sink(known)
        blocks = min(self._sink.size // BLOCK, known.blocks - 1)  # the last is always taken anew
        self._sink.keep(min(blocks * BLOCK, known.size))
        self._opener = Opener(self._key, known, blocks + 1)
        return sealed_offset(blocks + 1)

    def take(self, data: bytes) -> bool:
        """Whether the file is whole. Raises RemoteProtocolError on the first byte that is not genuine."""
        for plain in self._opener.feed(data):
            self._write(plain)
        if not self._opener.whole:
            return False
        assert self._sink is not None
        assert self.content is not None
        if (self._sink.size, self._sink.sha256()) != (self.content.size, self.content.sha256):
            raise RemoteProtocolError(
                "the file is not the one its sender hashed",
                "remove the .part file if it was altered here, and get it again",
            )
        self._sink.finish()
        self._finished = True
        return True

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()

    def _write(self, plain: bytes) -> None:
        assert self.content is not None
        if self._sink is None:
            self._sink = self._open_sink(self.content)
            self._sink.keep(0)
            self._learned(self.content)
        self._sink.write(plain)
        if self._progress is not None:
            self._progress(self._sink.size, self.content.size)
