"""A sealed file as Python's own file objects. Runs in the guest.

`SealedNode` is the file (an inode): size, blocks, one block in the clear. `SealedRaw` is one open
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SealedNode:
    """The content of one file. Safe to use from several threads."""

    def __init__(self, blocks: SealedBlocks, modified: float) -> None:
        self._blocks = blocks
        self._lock = RLock()
        self._number = -1  # of the block held in the clear
        self._clear = bytearray()
        self._dirty = False
        self._handles = 0
        self._linked = True
        self.size = 0
        self.modified = modified

    # --- content

    def read_into(self, position: int, target: memoryview) -> int:
        """Fill `target` from `position`; the number of bytes, fewer only at the end."""
        with self._lock:
            wanted = max(0, min(len(target), self.size - position))
            done = 0
            while done < wanted:
                done += self._read_some(position + done, target[done:wanted])
            return wanted

    def _read_some(self, position: int, target: memoryview) -> int:
        """As much of `target` as one step gives: a run of whole blocks, or a part of one."""
        number, start = divmod(position, BLOCK)
        if run := self._run(number, start, len(target)):
            self._blocks.read_run(number, target[:run])
            return run
        count = min(BLOCK - start, len(target))
        piece = self._peek(number)[start : start + count]
        target[: len(piece)] = piece
        target[len(piece) : count] = bytes(count - len(piece))
        return count

    def _run(self, number: int, start: int, size: int) -> int:
        """Bytes of whole blocks from here that can be moved at once, none of them in the clear.

        The file's last block counts only where it is full: a short one is shorter on disk too.
        """
        blocks = 0 if start else min(size // BLOCK, RUN)
        if number <= self._number < number + blocks:
            blocks = self._number - number
        return blocks * BLOCK

    def write(self, position: int, data: memoryview, modified: float) -> int:
        """Put `data` at `position`; a gap before it reads as zeros."""
        with self._lock:
            done = 0
            while done < len(data):
                done += self._write_some(position + done, data[done:])
                self.size = max(self.size, position + done)
            self.modified = modified
            return len(data)

    def _write_some(self, position: int, data: memoryview) -> int:
        number, start = divmod(position, BLOCK)
        if run := self._run(number, start, len(data)):
            self._blocks.write_run(number, data[:run])
            return run
        piece = data[: BLOCK - start]
        self._load(number)
        if len(self._clear) < start:
            self._clear += bytes(start - len(self._clear))
        self._clear[start : start + len(piece)] = piece
        self._dirty = True
        return len(piece)

    def resize(self, size: int, modified: float) -> None:
        """Cut, or lengthen by zeros."""
        with self._lock:
            if size < self.size:
                number, rest = divmod(size, BLOCK)
                if rest:
                    self._load(number)
                    if len(self._clear) > rest:
                        del self._clear[rest:]
                        self._dirty = True
                elif self._number >= number:
                    self._drop()
                if self._number > number:
                    self._drop()
                self._blocks.cut(number + bool(rest))
            self.size, self.modified = size, modified

    def flush(self) -> None:
        """Seal the block held in the clear, if it changed."""
        with self._lock:
            if self._dirty:
                self._blocks.write(self._number, self._clear)
                self._dirty = False

    def _peek(self, number: int) -> bytes | bytearray:
        """A block for reading; one in the clear is not displaced."""
        return self._clear if number == self._number else self._blocks.read(number)

    def _load(self, number: int) -> None:
        """Hold block `number` in the clear; without the padding behind the file's end."""
        if number == self._number:
            return
        self.flush()
        end = max(0, self.size - number * BLOCK)
        self._clear = bytearray(self._blocks.read(number)[:end])
        self._number = number

    def _drop(self) -> None:
        self._clear[:] = bytes(len(self._clear))
        self._number, self._clear, self._dirty = -1, bytearray(), False

    # --- life

    def acquire(self) -> None:
        self._handles += 1

    def release(self) -> None:
        self._handles -= 1
        if not self._handles:
            self.flush()
            self._drop()
            self._blocks.relax()
        self._end_if_unused()

    def unlink(self) -> None:
        self._linked = False
        self._end_if_unused()

    def wipe(self) -> None:
        """Forget key and content, whoever still has it open."""
        with self._lock:
            self._drop()
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
        self, node: SealedNode, name: str, *, reads: bool, writes: bool, appends: bool, clock: Any
    ) -> None:
        self._node = node
        self._reads, self._writes, self._appends = reads, writes, appends
        self._clock = clock
        self._position = node.size if appends else 0
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
            count = self._node.read_into(self._position, view)
        self._position += count
        return count

    def readall(self) -> bytes:
        self._check(self._reads, "read")
        found = bytearray(max(0, self._node.size - self._position))
        with memoryview(found) as view:
            self._position += self._node.read_into(self._position, view)
        return bytes(found)

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
