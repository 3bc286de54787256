"""What counted tokens have used: sessions and bytes.

The rule that keeps a crash from giving anything back: count first, then let it happen. A session is
counted before its Open is answered; bytes are drawn before they pass, and what was drawn too much is put
back when the connection ends. So a bentod that dies owes its clients at most one draw, never the reverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bento.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bento.box.tokens import Count


class Ledger(Protocol):
    """Counts by instance; each call is one transaction."""

    async def spend(self, instance: str, uses: Sequence[Count], session: bytes) -> bool:
        """Counts `session` once in every one of `uses`; False, and nothing counted, when one is full.

        The same session again is no further use."""

    async def draw(self, instance: str, bytes_: Sequence[Count], wanted: int) -> int:
        """Takes up to `wanted` bytes from all of `bytes_` at once; returns how many (0: used up)."""

    async def put_back(self, instance: str, bytes_: Sequence[Count], unused: int) -> None:
        """Returns bytes that were drawn and did not pass."""

    async def forget(self, instance: str) -> None:
        """The instance has ended: its counts go."""


class MemoryLedger:
    """A ledger that ends with its process."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[bytes, set[bytes]]] = {}
        self._bytes: dict[str, dict[bytes, int]] = {}

    async def spend(self, instance: str, uses: Sequence[Count], session: bytes) -> bool:
        table = self._sessions.setdefault(instance, {})
        new = [use for use in uses if session not in table.get(use.counter, ())]
        kept = sum(map(len, table.values()))
        if any(len(table.get(use.counter, ())) >= use.limit for use in new):
            return False
        if kept + len(new) > limits.COUNTED:
            return False
        for use in new:
            table.setdefault(use.counter, set()).add(session)
        return True

    async def draw(self, instance: str, bytes_: Sequence[Count], wanted: int) -> int:
        table = self._bytes.setdefault(instance, {})
        left = min(count.limit - table.get(count.counter, 0) for count in bytes_)
        drawn = max(min(left, wanted), 0)
        if len(table.keys() | {count.counter for count in bytes_}) > limits.COUNTED:
            return 0
        for count in bytes_:
            table[count.counter] = table.get(count.counter, 0) + drawn
        return drawn

    async def put_back(self, instance: str, bytes_: Sequence[Count], unused: int) -> None:
        table = self._bytes.get(instance, {})
        for count in bytes_:
            if count.counter in table:
                table[count.counter] -= unused

    async def forget(self, instance: str) -> None:
        self._sessions.pop(instance, None)
        self._bytes.pop(instance, None)
