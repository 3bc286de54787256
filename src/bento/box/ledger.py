"""What counted tokens have used: sessions and bytes.

The rule that keeps a crash from giving anything back: count first, then let it happen. A session is
counted before its Open is answered; bytes are drawn before they pass, and what was drawn too much is put
back when the connection ends. So a bentod that dies owes its clients at most one draw, never the reverse.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from bento.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from bento.box.journal import Journal
    from bento.box.tokens import Count


class Ledger(Protocol):
    """Counts by instance, gone with it; each call is one transaction."""

    async def spend(self, instance: str, uses: Sequence[Count], session: bytes) -> bool:
        """Counts `session` once in every one of `uses`; False, and nothing counted, when one is full.

        The same session again is no further use."""

    async def draw(self, instance: str, bytes_: Sequence[Count], wanted: int) -> int:
        """Takes up to `wanted` bytes from all of `bytes_` at once; returns how many (0: used up)."""

    async def put_back(self, instance: str, bytes_: Sequence[Count], unused: int) -> None:
        """Returns bytes that were drawn and did not pass."""


class JournalLedger:
    """The ledger of a box. Each call raises HostError when the journal cannot be written; nothing was
    counted then, and nothing may happen."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def spend(self, instance: str, uses: Sequence[Count], session: bytes) -> bool:
        return await self._journal.write(lambda db: _spend(db, instance, uses, session))

    async def draw(self, instance: str, bytes_: Sequence[Count], wanted: int) -> int:
        return await self._journal.write(lambda db: _draw(db, instance, bytes_, wanted))

    async def put_back(self, instance: str, bytes_: Sequence[Count], unused: int) -> None:
        rows = [(unused, instance, count.counter) for count in bytes_]
        await self._journal.write(
            lambda db: db.executemany(
                "UPDATE drawn SET bytes = bytes - ? WHERE instance = ? AND counter = ?", rows
            )
        )


_LIVE = "SELECT 1 FROM instances WHERE name = ? AND NOT ending"


def _spend(database: Connection, instance: str, uses: Sequence[Count], session: bytes) -> bool:
    if database.execute(_LIVE, (instance,)).fetchone() is None:
        return False
    rows = database.execute("SELECT counter, session FROM spent WHERE instance = ?", (instance,))
    spent = set(rows.fetchall())
    full = Counter(counter for counter, _ in spent)
    new = [use for use in uses if (use.counter, session) not in spent]
    if len(spent) + len(new) > limits.COUNTED or any(full[u.counter] >= u.limit for u in new):
        return False
    counted = [(instance, use.counter, session) for use in new]
    database.executemany("INSERT INTO spent (instance, counter, session) VALUES (?, ?, ?)", counted)
    return True


def _draw(database: Connection, instance: str, bytes_: Sequence[Count], wanted: int) -> int:
    if database.execute(_LIVE, (instance,)).fetchone() is None:
        return 0
    rows = database.execute("SELECT counter, bytes FROM drawn WHERE instance = ?", (instance,))
    drawn: dict[bytes, int] = dict(rows.fetchall())
    if len(drawn.keys() | {count.counter for count in bytes_}) > limits.COUNTED:
        return 0
    left = min(count.limit - drawn.get(count.counter, 0) for count in bytes_)
    now = max(min(left, wanted), 0)
    totals = [(instance, count.counter, drawn.get(count.counter, 0) + now) for count in bytes_]
    database.executemany(
        "INSERT OR REPLACE INTO drawn (instance, counter, bytes) VALUES (?, ?, ?)", totals
    )
    return now
