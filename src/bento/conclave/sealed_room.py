"""The conclave's own memory that a sealed folder's files lie in, as far as it goes. Runs in the guest.

Whatever is sealed dies with this process's key, so writing it out earlier than its room is needed saves
nothing from anything: a file is sealed, block by block, when others need its place. Those that came
first go first. What lies here does not lie below as well, so files take as much of the instance's memory
as they would on its tmpfs, and no more of them fit than there.

Invariant: the bytes held are counted, at most `size` and the block in use; they and what is sealed are
together at most what the place below has.
"""

from __future__ import annotations

import errno
import os
from threading import RLock

from bento.conclave.secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.conclave.sealed_held import HeldBlocks

ROOM = 16 << 20  # bytes: all of the disk that a manifest asks for unless it says otherwise


class Room:
    """Of one folder, which lies in `root`. Hold `lock` for whatever is done here or to a file."""

    def __init__(self, root: str, size: int = ROOM) -> None:
        self.root = root
        self.size = size
        self.lock = RLock()
        self.held = 0
        self._master: Secret | None = Secret()
        self._blocks: dict[tuple[HeldBlocks, int], int] = {}  # bytes of each; the first came first

    @property
    def master(self) -> Secret:
        """What the files' keys are made from. Raises ValueError once it is gone."""
        if self._master is None:
            raise ValueError("the sealed storage was wiped")
        return self._master

    def wipe(self) -> None:
        """Idempotent."""
        if self._master is not None:
            self._master.wipe()
            self._master = None

    def has(self, size: int) -> bool:
        """Whether so many bytes fit without another block's going."""
        return self.held + size <= self.size

    @property
    def full(self) -> bool:
        return self.held > self.size

    def claim(self, file: HeldBlocks, number: int, size: int) -> None:
        """The file is about to hold so many bytes of that block. Raises OSError when the disk is full."""
        self.master  # noqa: B018 - or it is gone
        more = size - self._blocks.get((file, number), 0)
        while not self.has(more) and self._make_way(file, number):
            pass
        below = os.statvfs(self.root)
        if self.held + more > below.f_bavail * below.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._blocks[file, number] = size
        self.held += more

    def leave(self, file: HeldBlocks, number: int) -> None:
        """The block is held no more."""
        self.held -= self._blocks.pop((file, number))

    def _make_way(self, file: HeldBlocks, number: int) -> bool:
        """Has the block sealed that came first, but for this one; whether there was any."""
        for other, block in self._blocks:
            if (other, block) != (file, number):
                other.put_away(block)
                return True
        return False
