"""The box's memory: what a restarted bentod must know of everything it acknowledged.

Invariant: a guest that was started has a row here, from before its start until nothing of it is left.
So what a kill at any moment leaves is either in the journal (it is taken over, or ended if its end had
begun) or was never started (it ends by itself, and `sweep` takes its traces away).

SQLite in WAL mode. What must outlive bentod is one thing, what must outlive the machine another: a
commit is in the kernel's hands when it returns, so no end of bentod loses it, and `synced` ones are on
the disk as well (synchronous=FULL). Instances, their ends and their spent uses are of the first sort:
a sandbox lives in memory, so whatever loses such a commit has ended the instance too, and rows of an
earlier boot are dropped (process numbers mean other processes now). A sync here would cost every Create
0.4 ms on an idle disk and 3 ms on a busy one, for nothing. The file itself is never damaged by a
power cut (WAL syncs before it writes back); one that was damaged otherwise is refused (see
`rowsums`), and so is one whose log lost something (see `witness`).
It is locked as long as a bentod has it open.

The rows hold no token and no secret (see `tokens`), nothing of a client, and nothing that a function
said or got. `secure_delete` overwrites those of ended instances.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bento.box import rowsums, witness
from bento.box.children import Kept
from bento.errors import HostError
from bento.sandbox import Limits, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_PATIENCE = 10.0  # seconds for an earlier bentod, which is just ending, to let go of the file
_LEAST = 512  # bytes of SQLite's smallest page; it takes what is shorter for a new file

_TABLES: rowsums.Tables = {
    "boot": (("id",), ("id",)),
    "instances": (
        (
            *("name", "sandbox", "manifest", "function", "upload", "holder"),
            *("expires", "token", "bytes_in", "bytes_out", "ending"),
        ),
        ("name",),
    ),
    "spent": (("instance", "counter", "session"), ("instance", "counter", "session")),
    "drawn": (("instance", "counter", "bytes"), ("instance", "counter")),
}

_MEASURED: rowsums.Tables = {"measured": (("instance", "measurement"), ("instance",))}
_CHILDREN: rowsums.Tables = {
    "children": (("instance", "name", "cost", "lease"), ("instance", "name"))
}
_SUMMED = _TABLES | witness.TABLES | _MEASURED | _CHILDREN

_FORMATS = (
    (
        "CREATE TABLE boot (id TEXT NOT NULL) STRICT",
        """
    CREATE TABLE instances (
        name      TEXT PRIMARY KEY,
        sandbox   TEXT NOT NULL,     -- a sandbox.Record as JSON
        manifest  TEXT NOT NULL,     -- as the client sent it
        function  BLOB NOT NULL,     -- SHA-256 of the upload
        upload    INTEGER NOT NULL,  -- bytes at most
        holder    TEXT NOT NULL,
        expires   INTEGER NOT NULL,  -- seconds since 1970
        token     BLOB NOT NULL,     -- the name its tokens have in common
        bytes_in  INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        ending    INTEGER NOT NULL   -- 1: its tokens work no more, its processes are to be killed
    ) STRICT, WITHOUT ROWID
        """,
        """
    CREATE TABLE spent (             -- see ledger
        instance TEXT NOT NULL REFERENCES instances ON DELETE CASCADE,
        counter  BLOB NOT NULL,
        session  BLOB NOT NULL,
        PRIMARY KEY (instance, counter, session)
    ) STRICT, WITHOUT ROWID
        """,
        """
    CREATE TABLE drawn (             -- see ledger
        instance TEXT NOT NULL REFERENCES instances ON DELETE CASCADE,
        counter  BLOB NOT NULL,
        bytes    INTEGER NOT NULL,
        PRIMARY KEY (instance, counter)
    ) STRICT, WITHOUT ROWID
        """,
    ),
    rowsums.statements(_TABLES),
    witness.FORMAT,
    (
        """
    CREATE TABLE measured (          -- conclaves only, where this machine's software measures them
        instance    TEXT PRIMARY KEY REFERENCES instances ON DELETE CASCADE,
        measurement BLOB NOT NULL
    ) STRICT, WITHOUT ROWID
        """,
        *rowsums.statements(_MEASURED),
    ),
    (
        """
    CREATE TABLE children (          -- what functions have on other boxes, see children
        instance TEXT NOT NULL REFERENCES instances ON DELETE CASCADE,
        name     BLOB NOT NULL,
        cost     INTEGER NOT NULL,
        lease    INTEGER NOT NULL,   -- seconds
        PRIMARY KEY (instance, name)
    ) STRICT, WITHOUT ROWID
        """,
        *rowsums.statements(_CHILDREN),
        *rowsums.SEAL,
    ),
)
"""What leads from format N to N + 1 (`PRAGMA user_version`). Only ever appended to."""
_SEALED = 5
"""The first format whose schema has a sum."""

_SETTINGS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
)


@dataclass(frozen=True)
class Entry:
    """One instance, as far as a restarted bentod needs it."""

    record: Record
    manifest: str
    function: bytes
    upload: int  # bytes
    holder: str  # the part of the box it belongs to, see `turnstile`
    expires: int  # seconds since 1970
    token: bytes  # the name its tokens have in common
    bytes_in: int = 0
    bytes_out: int = 0
    ending: bool = False
    measured: bytes = b""  # what its guest was measured as when it was started
    children: tuple[Kept, ...] = ()

    @property
    def name(self) -> str:
        return self.record.instance_id


class Journal:
    """One thread writes, so that a slow disk holds up nobody but who waits for the commit.

    Every method that writes raises HostError when it could not; nothing is changed then. A caller
    that is cancelled does not know whether it was.
    """

    def __init__(self, database: sqlite3.Connection, seen: witness.Witness) -> None:
        self._database = database
        self._seen = seen
        self._thread = ThreadPoolExecutor(1, "journal")

    @classmethod
    def open(cls, path: Path) -> Journal:
        """The journal in `path`, made if there is none. Raises HostError when it is another
        bentod's, of a newer format, damaged, or cannot be written."""
        try:
            size = _size(path)
            if 0 < size < _LEAST:
                raise _damaged(path)
            seen = witness.Witness(witness.path_of(path), boot_id())
            database = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(database, path, seen)
                if not size:  # from here an empty one is new, and never one that lost its log
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except BaseException:
                database.close()
                seen.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise _opening(path, error) from error
        except (
            UnicodeDecodeError
        ) as error:  # in a text of the file, or in SQLite's complaint of one
            raise _damaged(path) from error
        return cls(database, seen)

    async def close(self) -> None:
        """What was written stays; another bentod may open it now."""
        await self._on_thread(self._database.close)
        self._seen.close()
        self._thread.shutdown()

    # -- instances -------------------------------------------------------------------------------

    async def entries(self) -> list[Entry]:
        """Every instance that was begun and of which something may be left."""
        return await self.write(_entries)

    async def add(self, entry: Entry) -> None:
        """Before the guest is started."""
        await self.write(lambda db: _insert(db, entry))

    async def ending(self, name: str) -> None:
        """From here the instance's tokens never work again. Before its processes are killed."""
        await self.write(
            lambda db: db.execute("UPDATE instances SET ending = 1 WHERE name = ?", (name,))
        )

    async def forget(self, name: str) -> None:
        """Nothing of the instance is left; its spent uses are forgotten with it."""
        await self.write(lambda db: db.execute("DELETE FROM instances WHERE name = ?", (name,)))

    async def count(self, totals: dict[str, tuple[int, int]]) -> None:
        """Bytes so far (in, out) of instances by name."""
        rows = [(*both, name) for name, both in totals.items()]
        await self.write(
            lambda db: db.executemany(
                "UPDATE instances SET bytes_in = ?, bytes_out = ? WHERE name = ?", rows
            )
        )

    async def keep_children(self, name: str, children: Sequence[Kept]) -> None:
        """All that the instance has on other boxes now."""
        rows = [(name, *child) for child in children]
        await self.write(lambda db: _keep_children(db, name, rows))

    # -- anything --------------------------------------------------------------------------------

    async def write(self, work: Callable[[sqlite3.Connection], T], *, synced: bool = False) -> T:
        """Runs `work` on the journal's thread as one transaction; returns when it is committed.

        `synced`: it must survive a power cut, as what outlives a boot must."""
        return await self._on_thread(lambda: self._transaction(work, synced))

    def _transaction(self, work: Callable[[sqlite3.Connection], T], synced: bool) -> T:
        try:
            self._database.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            before = self._database.total_changes
            try:
                result = work(self._database)
                changed = self._database.total_changes != before
                number = witness.count(self._database) if changed else 0
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise HostError(
                f"the journal cannot be written: {error}", "look for space and errors on its disk"
            ) from error
        if number:
            self._seen.note(number)
        return result

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _size(path: Path) -> int:
    """Bytes of the file, which is made if there is none."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return os.fstat(file).st_size
    finally:
        os.close(file)


def boot_id() -> str:
    """What changes whenever the machine starts."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _prepare(database: sqlite3.Connection, path: Path, seen: witness.Witness) -> None:
    for setting in _SETTINGS:
        database.execute(setting)
    rowsums.install(database)
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version > len(_FORMATS):
        raise HostError(
            f"the journal {path} has format {version}, this bentod knows up to {len(_FORMATS)}",
            "a newer bentod wrote it: use that one, or a state folder of its own for this one",
        )
    database.execute("BEGIN IMMEDIATE")  # also takes the lock, once for all
    whole = rowsums.upgrade(database, _FORMATS, _SEALED)
    if version and (not whole or rowsums.damaged(database, _SUMMED) or seen.contradicts(database)):
        raise _damaged(path)
    boot = boot_id()
    if database.execute("SELECT id FROM boot").fetchall() != [(boot,)]:
        database.execute("DELETE FROM instances")
        database.execute("DELETE FROM boot")
        database.execute("INSERT INTO boot (id) VALUES (?)", (boot,))
    number = witness.count(database)
    database.execute("COMMIT")
    seen.note(number)


def _opening(path: Path, error: OSError | sqlite3.Error) -> HostError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY":
        return HostError(
            f"another bentod has the journal {path} open", "stop it, or give this one its own state"
        )
    if getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return _damaged(path)
    reason = error.strerror if isinstance(error, OSError) else error
    return HostError(
        f"the journal {path} cannot be opened: {reason}", "look for space and errors on its disk"
    )


def _damaged(path: Path) -> HostError:
    return HostError(
        f"the journal {path} is damaged", "move it away: bentod then ends what runs and begins anew"
    )


def _insert(database: sqlite3.Connection, entry: Entry) -> None:
    database.execute(
        "INSERT INTO instances (name, sandbox, manifest, function, upload, holder, expires, token,"
        " bytes_in, bytes_out, ending) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(entry.name, json.dumps(asdict(entry.record)), entry.manifest, entry.function),
            *(entry.upload, entry.holder, entry.expires, entry.token),
            *(entry.bytes_in, entry.bytes_out, entry.ending),
        ),
    )
    if entry.measured:
        database.execute(
            "INSERT INTO measured (instance, measurement) VALUES (?, ?)",
            (entry.name, entry.measured),
        )


def _keep_children(
    database: sqlite3.Connection, name: str, rows: list[tuple[str, bytes, int, int]]
) -> None:
    database.execute("DELETE FROM children WHERE instance = ?", (name,))
    database.executemany(
        "INSERT INTO children (instance, name, cost, lease) VALUES (?, ?, ?, ?)", rows
    )


def _entries(database: sqlite3.Connection) -> list[Entry]:
    rows = database.execute(
        "SELECT sandbox, manifest, function, upload, holder, expires, token,"
        " bytes_in, bytes_out, ending, coalesce(measurement, x'')"
        " FROM instances LEFT JOIN measured ON instance = name"
    )
    entries = [_entry(*row) for row in rows]
    return [replace(entry, children=_children(database, entry.name)) for entry in entries]


def _children(database: sqlite3.Connection, name: str) -> tuple[Kept, ...]:
    rows = database.execute("SELECT name, cost, lease FROM children WHERE instance = ?", (name,))
    return tuple(Kept(*row) for row in rows)


def _entry(sandbox: str, *fields: Any) -> Entry:
    entry = Entry(_record(sandbox), *fields)
    return replace(entry, ending=bool(entry.ending))


def _record(text: str) -> Record:
    fields = json.loads(text)
    return Record(**{**fields, "limits": Limits(**fields["limits"])})
