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

from bento.conclave.sealed_block import BLOCK, RUN, SealedBlocks
from bento.conclave.sealed_held import HeldBlocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bento.conclave.sealed_room import Room


_NEAR = 4096  # bytes, read at a jump
_SHIFT, _WITHIN = BLOCK.bit_length() - 1, BLOCK - 1  # quicker than a division


class SealedNode:
    """The content of one file. Safe to use from several threads."""

    def __init__(self, room: Room, modified: float) -> None:
        self._room = room
        self._lock = room.lock
        self._blocks = SealedBlocks(room)
        self._held = HeldBlocks(room, self._blocks)
        # Looked at for every small step, of which each microsecond counts.
        self._clear, self._changed = self._held.clear, self._held.changed
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
        size, start = len(target), position & _WITHIN
        end = start + size
        with self._lock:
            held = self._clear.get(position >> _SHIFT)
            if held is not None and end <= len(held) and position + size <= self.size:
                target[:] = held[start:end]
                return size
            self._room.master  # noqa: B018 - or it is gone
            return self._read(position, target)

    def _read(self, position: int, target: memoryview) -> int:
        wanted = max(0, min(len(target), self.size - position))
        done = 0
        while done < wanted:
            number, start = divmod(position + done, BLOCK)
            count = min(BLOCK - start, wanted - done)
            if not self._blocks.has(number) and number not in self._clear:
                target[done : done + count] = bytes(count)
            elif run := self._run(number, start, wanted - done):
                count = run
                self._blocks.read(number, target[done : done + run])
            else:
                held = self._held.get(number, start + count)
                target[done : done + count] = held[start : start + count]
            done += count
        return wanted

    def _run(self, number: int, start: int, size: int) -> int:
        """Bytes of whole blocks from here that can be moved at once, none of them in the clear."""
        if start or size < BLOCK:
            return 0
        return self._held.apart(number, min(size // BLOCK, RUN)) * BLOCK

    def write(self, position: int, data: memoryview, modified: float) -> int:
        """Put `data` at `position`, or at the end for -1; a gap before it reads as zeros. Where it ends."""
        size = len(data)
        with self._lock:
            if position < 0:
                position = self.size
            start, number = position & _WITHIN, position >> _SHIFT
            end, final = start + size, position + size
            held = self._clear.get(number)
            if held is not None and end <= len(held):
                held[start:end] = data
                self._changed.add(number)
                if final > self.size:
                    self.size = final
            elif size:
                self._write(position, data)
            self.modified = modified
            return final

    def _write(self, position: int, data: memoryview) -> None:
        done, size = 0, len(data)
        while done < size:
            number, start = divmod(position + done, BLOCK)
            count = self._run(number, start, size - done)
            if count and not self._room.has(BLOCK):
                self._blocks.write(number, data[done : done + count])
            elif not start and size - done >= BLOCK:
                count = BLOCK
                self._held.replace(number, data[done : done + BLOCK])
            else:
                count = min(BLOCK - start, size - done)
                held = self._held.change(number, start + count)
                held[start : start + count] = data[done : done + count]
            done += count
            self.size = max(self.size, position + done)

    def resize(self, size: int, modified: float) -> None:
        """Cut, or lengthen by zeros."""
        with self._lock:
            if size < self.size:
                number, rest = divmod(size, BLOCK)
                if rest and (number in self._clear or self._blocks.has(number)):
                    held = self._held.change(number, rest)
                    held[rest:] = bytes(len(held) - rest)
                self._held.forget(number + bool(rest))
                self._blocks.cut(number + bool(rest))
                if self._held.idle:
                    self._blocks.relax()
            self.size, self.modified = size, modified

    # --- life

    def acquire(self) -> None:
        with self._lock:
            self._handles += 1
            self._held.idle = False

    def release(self) -> None:
        with self._lock:
            self._handles -= 1
            if self._handles:
                return
            self._held.idle = True
            if not self._linked:
                self.wipe()
                return
            if self._room.full:
                self._held.put_all_away()
            self._blocks.relax()

    def unlink(self) -> None:
        """Its name is gone."""
        with self._lock:
            self._linked = False
            if not self._handles:
                self.wipe()

    def wipe(self) -> None:
        """Forget key and content, whoever still has it open."""
        with self._lock:
            self._held.forget()
            self._blocks.close()


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
        if not self._reads:
            self._check(False, "read")
        if not self._buffer or type(target) is not memoryview:  # an io's buffer gives plain ones
            target = memoryview(target).cast("B")
        position, size = self._position, len(target)
        if size <= self._buffer and (wanted := self._ahead(position, size)) < size:
            target = target[:wanted]
        self._position = self._end = end = position + self._node.read_into(position, target)
        return end - position

    def _ahead(self, position: int, size: int) -> int:
        """How much of a buffer to fill: all of it for who reads on, little for who jumps about."""
        if position != self._end:
            self._window = _NEAR
            return _NEAR - position % _NEAR
        self._window = window = min(2 * self._window, self._buffer)
        return min(window, size)

    def readall(self) -> bytes:
        self._check(self._reads, "read")
        found = io.BytesIO(bytes(max(0, self._node.size - self._position)))
        with found.getbuffer() as view:
            count = self._node.read_into(self._position, view)
        self._position += count
        return found.getvalue()[:count]  # no copy is made of the whole

    def write(self, data: Any) -> int:
        if not self._writes:
            self._check(False, "write")
        if not self._buffer or type(data) is not memoryview:  # an io's buffer gives plain ones
            data = memoryview(data).cast("B")
        position = -1 if self._appends else self._position
        self._position = self._node.write(position, data, self._clock())
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.closed:
            self._check(True, "seek")
        if whence:
            base = {os.SEEK_CUR: self._position, os.SEEK_END: self._node.size}
            if whence not in base:
                raise ValueError(f"invalid whence ({whence})")
            offset += base[whence]
        if offset < 0:
            raise OSError(22, "Invalid argument")
        self._position = offset
        return offset

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

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()
            finally:
                self.closed = True
                self._reads = self._writes = False
                self._node.release()

    def _check(self, allowed: bool, action: str) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not allowed:
            raise io.UnsupportedOperation(f"not open for this: {action}")
