"""The few blocks of a sealed file that are held in the clear. Runs in the guest.

Invariant: what a held block says is newer than, or the same as, what lies sealed; a changed one is
sealed before it is let go of. Buffers are overwritten with zeros at the end.
"""

from __future__ import annotations

from bento.conclave.sealed_block import BLOCK, SealedBlocks

HELD = (
    8  # blocks; small files, and the parts of large ones that are used again and again, stay whole
)


class HeldBlocks:
    """Of one file, whose `size` each method is told that may seal: the last block is not padded to
    the full."""

    def __init__(self, blocks: SealedBlocks) -> None:
        self._blocks = blocks
        self._clear: dict[int, memoryview] = {}  # the one used last stands last
        self._changed: set[int] = set()

    def get(self, number: int, size: int) -> memoryview:
        """Block `number`; zeros behind the file's end. Raises IntegrityError."""
        held = self._clear.pop(number, None)
        if held is None:
            held = self._room(size)
            self._blocks.read(number, held)
        self._clear[number] = held
        return held

    def change(self, number: int, size: int) -> memoryview:
        """The same, to be written to."""
        held = self.get(number, size)
        self._changed.add(number)
        return held

    def apart(self, number: int, count: int) -> int:
        """How many blocks from `number` on, up to `count`, are not held."""
        if self._clear:
            for ahead in range(count):
                if number + ahead in self._clear:
                    return ahead
        return count

    def flush(self, size: int) -> None:
        """Seal what was changed."""
        for number in sorted(self._changed):
            self._seal(number, size)

    def forget(self, number: int = 0) -> None:
        """Let go of block `number` and all behind it, whether changed or not."""
        for held in [n for n in self._clear if n >= number]:
            self._clear.pop(held)[:] = _ZEROS
            self._changed.discard(held)

    def _room(self, size: int) -> memoryview:
        if len(self._clear) < HELD:
            return memoryview(bytearray(BLOCK))
        oldest = next(iter(self._clear))
        if oldest in self._changed:
            self._seal(oldest, size)
        return self._clear.pop(oldest)

    def _seal(self, number: int, size: int) -> None:
        self._blocks.write(number, self._clear[number][: min(BLOCK, size - number * BLOCK)])
        self._changed.discard(number)


_ZEROS = bytes(BLOCK)
