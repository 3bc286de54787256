"""A sealed file as Python's own file objects. Runs in the guest.

`SealedNode` is the file (an inode): size, blocks, a few of them in the clear. `SealedRaw` is one open
handle with a position; Python's io classes put buffering and text on top, so that every mode of
`open` works.
Invariant: all handles of a node see each other's writes at once; a node lives until its last handle
is closed, even if its name is gone.
"""

from __future__ import annotations

import io
import os
from threading import RLock

from bento.conclave.sealed_block import BLOCK, RUN, SealedBlocks
from bento.conclave.sealed_held import HeldBlocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


_NEAR = 4096  # bytes, read at a jump


class SealedNode:
    """The content of one file. Safe to use from several threads."""

    def __init__(self, blocks: SealedBlocks, modified: float) -> None:
        self._blocks = blocks
        self._held = HeldBlocks(blocks)
        self._lock = RLock()
        self._handles = 0
        self._linked = True
        self.size = 0
        self.modified = modified
        self.settle: Callable[[], None] | None = None
        """Where newer content waits elsewhere: writes it here, before anybody looks."""

    # --- content

    def look(self) -> None:
        """Somebody looks at the file by its name."""
        if self.settle is not None:
            self.settle()

    def read_into(self, position: int, target: memoryview) -> int:
        """Fill `target` from `position`; the number of bytes, fewer only at the end."""
        with self._lock:
            wanted = max(0, min(len(target), self.size - position))
            done = 0
            while done < wanted:
                number, start = divmod(position + done, BLOCK)
                count = self._run(number, start, wanted - done)
                if count:
                    self._blocks.read(number, target[done : done + count])
                else:
                    count = min(BLOCK - start, wanted - done)
                    held = self._held.get(number, self.size)
                    target[done : done + count] = held[start : start + count]
                done += count
            return wanted

    def _run(self, number: int, start: int, size: int) -> int:
        """Bytes of whole blocks from here that can be moved at once, none of them in the clear."""
        if start or size < BLOCK:
            return 0
        return self._held.apart(number, min(size // BLOCK, RUN)) * BLOCK

    def write(self, position: int, data: memoryview, modified: float) -> int:
        """Put `data` at `position`; a gap before it reads as zeros."""
        with self._lock:
            done, size = 0, len(data)
            while done < size:
                number, start = divmod(position + done, BLOCK)
                count = self._run(number, start, size - done)
                if count:
                    self._blocks.write(number, data[done : done + count])
                else:
                    count = min(BLOCK - start, size - done)
                    held = self._held.change(number, self.size)
                    held[start : start + count] = data[done : done + count]
                done += count
                self.size = max(self.size, position + done)
            self.modified = modified
            return size

    def resize(self, size: int, modified: float) -> None:
        """Cut, or lengthen by zeros."""
        with self._lock:
            if size < self.size:
                number, rest = divmod(size, BLOCK)
                if rest:
                    self._held.change(number, self.size)[rest:] = bytes(BLOCK - rest)
                self._held.forget(number + bool(rest))
                self._blocks.cut(number + bool(rest))
            self.size, self.modified = size, modified

    def flush(self) -> None:
        """Seal what is held in the clear and was changed."""
        with self._lock:
            self._held.flush(self.size)

    # --- life

    def acquire(self) -> None:
        self._handles += 1

    def release(self) -> None:
        self._handles -= 1
        if not self._handles:
            self.flush()
            self._held.forget()
            self._blocks.relax()
        self._end_if_unused()

    def unlink(self) -> None:
        self._linked = False
        self._end_if_unused()

    def wipe(self) -> None:
        """Forget key and content, whoever still has it open."""
        with self._lock:
            self._held.forget()
            self._blocks.close()

    def _end_if_unused(self) -> None:
        if not self._linked and not self._handles:
            self.wipe()


class SealedRaw(io.RawIOBase):
    """One open handle: a position in a node, and what it may do there."""

    # Text and buffers above ask this for every line: a plain attribute is twice as quick as the
    # base class's property.
    closed = False

    def __init__(
        self,
        node: SealedNode,
        name: str,
        *,
        reads: bool,
        writes: bool,
        appends: bool,
        buffer: int,
        clock: Any,
    ) -> None:
        """`buffer`: bytes of the io's buffer that is to be put on top, or 0."""
        self._node = node
        self._reads, self._writes, self._appends = reads, writes, appends
        self._buffer = self._window = buffer
        self._clock = clock
        self._position = node.size if appends else 0
        self._end = 0  # of the last read
        self.name = name
        node.acquire()

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def seekable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        self._check(self._reads, "read")
        with memoryview(target).cast("B") as view:
            position = self._position
            count = self._node.read_into(position, view[: self._ahead(position, len(view))])
        self._position = self._end = position + count
        return count

    def _ahead(self, position: int, size: int) -> int:
        """How much of a buffer to fill: all of it for who reads on, little for who jumps about."""
        if size <= self._buffer:
            jumped = position != self._end
            self._window = _NEAR if jumped else min(2 * self._window, self._buffer)
            return self._window - (position % _NEAR if jumped else 0)
        return size

    def readall(self) -> bytes:
        self._check(self._reads, "read")
        found = io.BytesIO(bytes(max(0, self._node.size - self._position)))
        with found.getbuffer() as view:
            count = self._node.read_into(self._position, view)
        self._position += count
        return found.getvalue()[:count]  # no copy is made of the whole

    def write(self, data: Any) -> int:
        self._check(self._writes, "write")
        if self._appends:
            self._position = self._node.size
        with memoryview(data).cast("B") as view:
            count = self._node.write(self._position, view, self._clock())
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(True, "seek")
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._node.size}
        if whence not in base:
            raise ValueError(f"invalid whence ({whence})")
        position = base[whence] + offset
        if position < 0:
            raise OSError(22, "Invalid argument")
        self._position = position
        return position

    def tell(self) -> int:
        self._check(True, "tell")
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._check(self._writes, "truncate")
        size = self._position if size is None else size
        if size < 0:
            raise OSError(22, "Invalid argument")
        self._node.resize(size, self._clock())
        return size

    def flush(self) -> None:
        super().flush()
        if self._writes:
            self._node.flush()

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()  # flushes
            finally:
                self.closed = True
                self._node.release()

    def _check(self, allowed: bool, action: str) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not allowed:
            raise io.UnsupportedOperation(f"not open for this: {action}")
