"""SQLite databases in sealed storage. Runs in the guest.

SQLite opens its files itself, so a sealed database lives in memory and is written back, whole, on
every commit and on close. Right for the few megabytes a function keeps; the write-back costs as
much as the database is long. Two connections to one database do not see each other's changes.
"""

from __future__ import annotations

import hashlib
import sqlite3

from bento.conclave.storage import SealedFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal


class SealedConnection(sqlite3.Connection):
    """An ordinary connection, except for where its database goes. Made by `connect`."""

    _folder: SealedFolder | None = None
    _path = ""
    _saved = b""

    def attach_sealed(self, folder: SealedFolder, path: str) -> None:
        """Load the database from `path`, if there is one."""
        self._folder, self._path = folder, path
        if folder.exists(path):
            with folder.open(path, "rb") as file:
                content = file.read()
            if content:
                self.deserialize(content)
        else:
            folder.open(path, "wb").close()
        self._saved = self._digest()

    def commit(self) -> None:
        super().commit()
        self._save()

    def close(self) -> None:
        if self._folder is not None:
            self._save()
            self._folder = None
        super().close()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> Literal[False]:
        super().__exit__(kind, value, trace)
        self._save()
        return False

    def _save(self) -> None:
        """Write back if anything changed that is not part of an open transaction."""
        if self._folder is None or self.in_transaction:
            return
        digest = self._digest()
        if digest != self._saved:
            with self._folder.open(self._path, "wb") as file:
                file.write(self._content())
            self._saved = digest

    def _digest(self) -> bytes:
        return hashlib.blake2b(self._content()).digest()

    def _content(self) -> bytes:
        """The database as a file; SQLite refuses to give an empty one."""
        (pages,) = self.execute("pragma page_count").fetchone()
        return self.serialize() if pages else b""


def connect(folder: SealedFolder, path: str, **options: Any) -> SealedConnection:
    """Like `sqlite3.connect`, for a database in `folder`."""
    options.pop("factory", None)
    options.pop("uri", None)
    connection = sqlite3.connect(":memory:", factory=SealedConnection, **options)
    connection.attach_sealed(folder, path)
    return connection
