"""P9, storage: sealed files beside plain ones on the same tmpfs, by ordinary Python file use.

Ours through the same `open` that a function calls in a conclave; the plain ones through the interpreter's
own. The bulk file has three times the room in memory, so that it really is sealed: written and read by
64 KiB, and by 4 KiB anywhere. The rest fits in, as a function's usual disk does.

In processor time, in turns, the best of each: a transfer of a few milliseconds on a shared machine's clock
measures the neighbours.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from benchmarks.figures import Figure
from bento.conclave import sealed_sqlite
from bento.conclave.sealed_paths import Mount
from bento.conclave.sealed_room import ROOM
from bento.conclave.storage import SealedFolder

KIB, MIB = 1 << 10, 1 << 20
ROUNDS = 9
CHUNK = bytes(range(256)) * 256  # 64 KiB, the piece shutil copies in
PAGE = bytes(range(256)) * 16  # 4 KiB
BULK = 3 * ROOM
SMALL = 8 * MIB
PAGES = 4_000  # 4 KiB pieces at random places
RECORD = b"a record of a log that grows bit by bit, with a time and some words of what happened\n"
LINE = "a line of text of a usual length\n"

Open = Callable[[str, str], IO[Any]]
Connect = Callable[[str], sqlite3.Connection]


def measure() -> Iterator[Figure]:
    shared = Path("/dev/shm")  # as a sandbox's disk is one
    below = Path(tempfile.mkdtemp(prefix="bento-bench-", dir=shared if shared.is_dir() else None))
    folder = SealedFolder(str(below))
    plain, shown = below / "plain", below / "shown"
    plain.mkdir()
    ordinary = open
    mount = Mount(folder, str(shown))
    mount.install()
    try:
        for name, use in FILES.items():
            yield _compare(
                name,
                use,
                lambda path, mode: open(f"{shown}/{path}", mode),  # noqa: SIM115 - the use closes it
                lambda path, mode: ordinary(f"{plain}/{path}", mode),
            )
        folder.unlink("bulk")
        for name, query in DATABASES.items():
            yield _compare(
                name,
                query,
                lambda path: sealed_sqlite.connect(folder, path),
                lambda path: sqlite3.connect(f"{plain}/{path}"),
            )
    finally:
        mount.uninstall()
        folder.wipe()
        shutil.rmtree(below)


def _compare(name: str, use: Callable[[Any], tuple[float, str]], ours: Any, theirs: Any) -> Figure:
    sealed, plain = [], []
    for _ in range(ROUNDS):
        sealed.append(_rate(use, ours))
        plain.append(_rate(use, theirs))
    (best, unit), (reference, _) = max(sealed), max(plain)
    what = f"sealed file v. plain file on tmpfs: {name}"
    return Figure("P9", best, unit, reference, 0.5, at_least=True, what=what)


def _rate(use: Callable[[Any], tuple[float, str]], opener: Any) -> tuple[float, str]:
    began = time.process_time()
    amount, unit = use(opener)
    return amount / (time.process_time() - began), f"{unit}/s"


# --- uses: each returns how much it did, and of what


def _write(opener: Open) -> tuple[float, str]:
    with opener("bulk", "wb") as file:
        for _ in range(BULK // len(CHUNK)):
            file.write(CHUNK)
    return BULK / MIB, "MiB"


def _read(opener: Open) -> tuple[float, str]:
    with opener("bulk", "rb") as file:
        while file.read(len(CHUNK)):
            pass
    return BULK / MIB, "MiB"


def _read_whole(opener: Open) -> tuple[float, str]:
    with opener("bulk", "rb") as file:
        assert len(file.read()) == BULK
    return BULK / MIB, "MiB"


def _lines(opener: Open) -> tuple[float, str]:
    count = 60_000
    with opener("lines", "w") as file:
        for _ in range(count):
            file.write(LINE)
    with opener("lines", "r") as file:
        for _ in file:
            pass
    return count / 1e3, "thousand lines"


def _fill_small(opener: Open) -> tuple[float, str]:
    with opener("small", "wb") as file:
        for _ in range(SMALL // len(CHUNK)):
            file.write(CHUNK)
    return SMALL / MIB, "MiB"


def _read_pages(opener: Open, path: str = "small", size: int = SMALL) -> tuple[float, str]:
    chance = random.Random(1)
    with opener(path, "rb") as file:
        for _ in range(PAGES):
            file.seek(chance.randrange(size // len(PAGE)) * len(PAGE))
            file.read(len(PAGE))
    return PAGES / 1e3, "thousand pages"


def _write_pages(opener: Open, path: str = "small", size: int = SMALL) -> tuple[float, str]:
    chance = random.Random(1)
    with opener(path, "r+b") as file:
        for _ in range(PAGES):
            file.seek(chance.randrange(size // len(PAGE)) * len(PAGE))
            file.write(PAGE)
    return PAGES / 1e3, "thousand pages"


def _append(opener: Open) -> tuple[float, str]:
    count = 40_000
    with opener("log", "ab") as file:
        for _ in range(count):
            file.write(RECORD)
    return count / 1e3, "thousand records"


def _append_flushed(opener: Open) -> tuple[float, str]:
    count = 5_000
    with opener("log", "ab") as file:
        for _ in range(count):
            file.write(RECORD)
            file.flush()
    return count / 1e3, "thousand records"


def _small_files(opener: Open) -> tuple[float, str]:
    count = 300
    for number in range(count):
        with opener(f"small {number}", "wb") as file:
            file.write(RECORD)
        with opener(f"small {number}", "rb") as file:
            file.read()
    return count / 1e3, "thousand files"


def _fill(connect: Connect) -> tuple[float, str]:
    database = connect("filled")
    with database:
        database.execute("create table if not exists things (name text, value blob)")
        database.execute("delete from things")
        rows = ((f"thing {n}", PAGE[: n % 200]) for n in range(5_000))
        database.executemany("insert into things values (?, ?)", rows)
    database.close()
    return 5, "thousand rows"


def _commit(connect: Connect) -> tuple[float, str]:
    database = connect("filled")
    for number in range(100):
        with database:
            database.execute("update things set value = ? where rowid = ?", (PAGE[:150], number))
    database.close()
    return 100, "commits"


def _query(connect: Connect) -> tuple[float, str]:
    database = connect("filled")
    for number in range(20):
        name = f"thing {number * 7}"
        database.execute("select * from things where name = ?", (name,)).fetchall()
    database.close()
    return 20, "queries"


FILES: dict[str, Callable[[Open], tuple[float, str]]] = {
    "write 48 MiB by 64 KiB": _write,
    "read 48 MiB by 64 KiB": _read,
    "read 48 MiB whole": _read_whole,
    "read 4 KiB anywhere in 48 MiB": partial(_read_pages, path="bulk", size=BULK),
    "write 4 KiB anywhere in 48 MiB": partial(_write_pages, path="bulk", size=BULK),
    "write 8 MiB by 64 KiB": _fill_small,
    "read 4 KiB anywhere in 8 MiB": _read_pages,
    "write 4 KiB anywhere in 8 MiB": _write_pages,
    "write and read lines": _lines,
    "append records": _append,
    "append records, each flushed": _append_flushed,
    "write and read small files": _small_files,
}
DATABASES: dict[str, Callable[[Connect], tuple[float, str]]] = {
    "sqlite3: fill a table": _fill,
    "sqlite3: small commits": _commit,
    "sqlite3: search": _query,
}
