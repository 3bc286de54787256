"""A checksum in every row of a database, kept by triggers, and one of its schema, so that a damaged file is
told and not believed.

SQLite finds what does not fit together; a changed byte within a value fits. It is against bad disks and
careless hands: who can write the file can write its sums.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

Tables = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""Of each table its columns, and those of them that tell its rows apart. No name from outside."""

_BYTES = 16  # of a SHA-256

SEAL = (
    "CREATE TABLE schema_seal (sum BLOB NOT NULL) STRICT",
    "INSERT INTO schema_seal VALUES (x'')",
)
"""The statements that make room for the schema's sum."""


def _sum(*values: str | bytes | int | None) -> bytes:
    return hashlib.sha256(repr(values).encode()).digest()[:_BYTES]


def _added_to(table: str, names: tuple[str, ...], keys: tuple[str, ...]) -> tuple[str, ...]:
    columns = ", ".join(names)
    this_row = " AND ".join(f"{key} = new.{key}" for key in keys)
    # A bare column is the row's own, read again: of values in hand the trigger would know no types.
    keep = f"BEGIN UPDATE {table} SET sum = row_sum({columns}) WHERE {this_row}; END"  # noqa: S608 - no name from outside
    return (
        f"ALTER TABLE {table} ADD COLUMN sum BLOB",
        f"CREATE TRIGGER {table}_added AFTER INSERT ON {table} {keep}",
        f"CREATE TRIGGER {table}_changed AFTER UPDATE OF {columns} ON {table} {keep}",
        f"UPDATE {table} SET sum = row_sum({columns})",  # noqa: S608
    )


def statements(tables: Tables) -> tuple[str, ...]:
    """What gives the tables their sums."""
    return tuple(
        statement
        for table, (columns, keys) in tables.items()
        for statement in _added_to(table, columns, keys)
    )


def upgrade(database: Connection, formats: Sequence[Sequence[str]], sealed: int) -> bool:
    """Leads the file to the newest format; whether its schema was as it was written.

    `formats` are the statements that lead from format N to N + 1; that which made room for the schema's sum
    led to format `sealed`."""
    [version] = database.execute("PRAGMA user_version").fetchone()
    whole = version < sealed or _sealed(database) == [(_schema_sum(database),)]
    for statement in itertools.chain.from_iterable(formats[version:]):
        database.execute(statement)
    if version < len(formats):
        database.execute(f"PRAGMA user_version = {len(formats)}")
    if version < len(formats) >= sealed:
        database.execute("UPDATE schema_seal SET sum = ?", (_schema_sum(database),))
    return whole


def _sealed(database: Connection) -> list[tuple[bytes]]:
    return database.execute("SELECT sum FROM schema_seal").fetchall()


def _schema_sum(database: Connection) -> bytes:
    columns = ("type", "name", "tbl_name", "sql")
    blobs = ", ".join(f"CAST({column} AS BLOB)" for column in columns)  # damaged text is none
    rows = database.execute(f"SELECT {blobs} FROM sqlite_schema ORDER BY name")  # noqa: S608
    return _sum(*itertools.chain.from_iterable(rows))


def install(database: Connection) -> None:
    """What the triggers call."""
    database.create_function("row_sum", -1, _sum, deterministic=True)


def damaged(database: Connection, tables: Tables) -> bool:
    """Whether anything in the file is not as it was written."""
    if database.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
        return True
    if database.execute("PRAGMA foreign_key_check").fetchone() is not None:
        return True
    return any(
        database.execute(
            f"SELECT 1 FROM {table} WHERE sum IS NOT row_sum({', '.join(columns)})"  # noqa: S608
        ).fetchone()
        for table, (columns, _) in tables.items()
    )
