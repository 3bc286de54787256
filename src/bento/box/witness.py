"""How far a database had come, told by a file beside it.

SQLite keeps what was written last in a log of its own, frame by frame with checksums, and takes a damaged
frame, and all that follows, for what was never written: so a disk that lies could take back what was
acknowledged, and nothing would be noticed. Therefore every transaction counts itself, in a row of the
database, and its number is written here once it is committed, before anybody hears of it. A database
that is behind its witness has lost something.

The witness may be behind: a bentod that is killed between the two has acknowledged nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from bento.box import rowsums

if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection

TABLES: rowsums.Tables = {"generation": (("number",), ("number",))}
FORMAT = (
    "CREATE TABLE generation (number INTEGER NOT NULL) STRICT",
    "INSERT INTO generation VALUES (0)",
    *rowsums.statements(TABLES),
)
"""The statements that make a database count."""

_LINE = re.compile(rb"(\S+) (\d{20})\n")


class Witness:
    """The file `path`. `era` is what its numbers belong to: a database that is not synced to the disk
    may be behind after the machine's end, so its numbers are worth something within one boot."""

    def __init__(self, path: Path, era: str) -> None:
        self._era = era
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def contradicts(self, database: Connection) -> bool:
        """Whether `database` lacks something that was committed."""
        rows = database.execute("SELECT number FROM generation").fetchall()
        if len(rows) != 1:
            return True
        found = _LINE.fullmatch(os.pread(self._file, 1024, 0))
        if found is None or found[1] != self._era.encode():
            return False
        return bool(rows[0][0] < int(found[2]))

    def note(self, number: int) -> None:
        """`number` is committed. Where that cannot be written, a loss may not be noticed."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, b"%s %020d\n" % (self._era.encode(), number), 0)

    def close(self) -> None:
        os.close(self._file)


def count(database: Connection) -> int:
    """The number of the transaction under way."""
    [number] = database.execute(
        "UPDATE generation SET number = number + 1 RETURNING number"
    ).fetchone()
    return int(number)


def path_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-witness")
