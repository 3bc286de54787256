"""The blocks of a sealed file that lie in the clear, in the conclave's memory. Runs in the guest.

Invariant: what a held block says is newer than, or the same as, what lies sealed; a changed one is
sealed before it is let go of; behind its file's end it is zeros. A block is as long as was needed so far,
and reads as zeros behind that: small files take little. Buffers are overwritten with zeros at the end.
"""

from __future__ import annotations

from bento.conclave.sealed_block import BLOCK, SealedBlocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.conclave.sealed_room import Room

_LEAST = 256  # bytes of a block


class HeldBlocks:
    """Of one file. Whoever calls has the room's lock."""

    def __init__(self, room: Room, blocks: SealedBlocks) -> None:
        self._room = room
        self._blocks = blocks
        self.clear: dict[int, memoryview] = {}
        self.changed: set[int] = set()
        self.idle = True
        """Nobody has the file open."""

    def get(self, number: int, end: int) -> memoryview:
        """Block `number`, its first `end` bytes at least. Raises IntegrityError, OSError."""
        held = self.clear.get(number)
        if held is None:
            sealed = self._blocks.has(number)
            held = self._make(number, BLOCK if sealed else end)
            if sealed:
                self._fetch(number, held)
        elif len(held) < end:
            short, held = held, self._make(number, end)
            held[: len(short)] = short
            short[:] = _ZEROS[: len(short)]
        return held

    def change(self, number: int, end: int) -> memoryview:
        """The same, to be written to."""
        held = self.get(number, end)
        self.changed.add(number)
        return held

    def replace(self, number: int, data: memoryview) -> None:
        """The whole block is this now. Raises OSError."""
        held = self.clear.get(number)
        if held is None or len(held) < BLOCK:
            held = self._make(number, BLOCK)
        held[:] = data
        self.changed.add(number)

    def apart(self, number: int, count: int) -> int:
        """How many blocks from `number` on, up to `count`, are not held."""
        if self.clear:
            for ahead in range(count):
                if number + ahead in self.clear:
                    return ahead
        return count

    def put_away(self, number: int) -> None:
        """Seal the block if it was changed, and let go of it. Raises OSError; then it is held still."""
        if number in self.changed:
            self._blocks.write(number, self.clear[number])
            if self.idle:
                self._blocks.relax()
        self._drop(number)

    def put_all_away(self) -> None:
        for number in sorted(self.clear):
            self.put_away(number)

    def forget(self, number: int = 0) -> None:
        """Let go of block `number` and all behind it, whether changed or not."""
        for held in [n for n in self.clear if n >= number]:
            self._drop(held)

    def _make(self, number: int, size: int) -> memoryview:
        size = min(BLOCK, max(_LEAST, 1 << (size - 1).bit_length()))
        self._room.claim(self, number, size)
        held = self.clear[number] = memoryview(bytearray(size))
        return held

    def _fetch(self, number: int, held: memoryview) -> None:
        try:
            self._blocks.read(number, held)
        except BaseException:
            self._drop(number)
            raise

    def _drop(self, number: int) -> None:
        held = self.clear.pop(number)
        held[:] = _ZEROS[: len(held)]
        self.changed.discard(number)
        self._room.leave(self, number)


_ZEROS = bytes(BLOCK)
