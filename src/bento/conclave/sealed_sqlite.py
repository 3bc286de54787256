"""SQLite databases in sealed storage. Runs in the guest.

SQLite opens its files itself, so a sealed database that is open lives in memory, where all connections
to it share it as they would a file (SQLite's `memdb`), and is sealed when the last one closes or
when somebody looks at the file by its name. Sealing it at each commit would save nothing: the key
dies with this process. Right for the few megabytes a function keeps.

Invariant: what is sealed is a committed state; nothing is written outside memory and the sealed folder.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from threading import RLock
from weakref import WeakKeyDictionary

from bento.conclave.sealed_file import SealedNode
from bento.conclave.storage import SealedFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE = 0.1  # seconds that sealing waits for a commit in another thread
_POSITIONS = (
    *("timeout", "detect_types", "isolation_level", "check_same_thread"),
    *("factory", "cached_statements", "uri"),
)  # of sqlite3.connect's further arguments


class SealedConnection(sqlite3.Connection):
    """An ordinary connection, except for where its database goes. Made by `connect`."""

    _shared: Shared | None = None

    def join(self, shared: Shared) -> None:
        shared.users += 1
        self._shared = shared
        # What SQLite puts aside for a large sort would lie in the clear.
        self.execute("pragma temp_store = memory")

    def close(self) -> None:
        super().close()
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.leave()

    def __del__(self) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            with contextlib.suppress(sqlite3.Error):  # another thread's
                super().close()
            shared.leave()


class Shared:
    """One open database: its place in memory, held by a connection of our own that also seals it."""

    def __init__(self, folder: SealedFolder, path: str) -> None:
        self._file = folder.open(path, "r+b")
        self.users = 0
        self.place = f"file:/{os.urandom(16).hex()}?vfs=memdb"
        self._keeper = sqlite3.connect(
            self.place, uri=True, check_same_thread=False, timeout=_PATIENCE, isolation_level=None
        )
        self._load()
        self._sealed = self._version()

    def _load(self) -> None:
        if content := self._file.read():
            source = sqlite3.connect(":memory:")
            source.deserialize(content)
            source.backup(self._keeper)
            source.close()

    def _version(self) -> int:
        """Another one after each commit of somebody else."""
        [version] = self._keeper.execute("pragma data_version").fetchone()
        return int(version)

    def seal(self) -> None:
        """Write what is committed to the file; while somebody is about to commit, what was before."""
        with _LOCK, contextlib.suppress(sqlite3.OperationalError):
            version = self._version()
            if version == self._sealed:
                return
            [pages] = self._keeper.execute("pragma page_count").fetchone()
            content = self._keeper.serialize() if pages else b""  # SQLite gives no empty one
            self._file.seek(0)
            self._file.write(content)
            self._file.truncate()
            self._file.flush()
            self._sealed = version

    def leave(self) -> None:
        """One connection less."""
        with _LOCK:
            self.users -= 1
            if not self.users:
                for node in [node for node, shared in _OPEN.items() if shared is self]:
                    del _OPEN[node]
                    node.settle = None
                self.seal()
                self._keeper.close()
                self._file.close()


_LOCK = RLock()
_OPEN: WeakKeyDictionary[SealedNode, Shared] = WeakKeyDictionary()


def connect(folder: SealedFolder, path: str, *arguments: Any, **options: Any) -> SealedConnection:
    """Like `sqlite3.connect`, for a database in `folder`; a `factory` of the caller's is not used."""
    options |= zip(_POSITIONS, arguments, strict=False)
    with _LOCK:
        if not folder.exists(path):
            folder.open(path, "wb").close()
        node = folder.node(path)
        shared = _OPEN.get(node)
        if shared is None:
            shared = _OPEN[node] = Shared(folder, path)
            node.settle = shared.seal
        ours = {"factory": SealedConnection, "uri": True}
        connection: SealedConnection = sqlite3.connect(shared.place, **options | ours)
        connection.join(shared)
        return connection
