"""R5: a damaged journal is refused in one sentence, or nothing in it is lost or altered."""

import asyncio
import contextlib
import re
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.box.test_journal import ENTRY, RECORD, Count, Journal, JournalLedger

from bento.box import rowsums, witness
from bento.box.children import Kept
from bento.box.journal import _FORMATS
from bento.errors import HostError

ROWS = 12
TABLES = "boot", "instances", "spent", "drawn", "measured", "children"
REFUSED = re.compile(
    "the journal .* (is damaged|has format [0-9]+, this bentod .*|cannot be opened: .+)"
)


async def fill(path, measured=b"m" * 32):
    """A journal with rows in all its tables, closed."""
    await (await filled(path, measured)).close()


async def filled(path, measured=b"m" * 32):
    journal = Journal.open(path)
    ledger = JournalLedger(journal)
    for number in range(ROWS):
        name = f"name-{number}"
        record = replace(RECORD, instance_id=name)
        token = bytes([number]) * 16
        await journal.add(replace(ENTRY, record=record, token=token, measured=measured))
        await ledger.spend(name, [Count(b"uses", 9)], b"the visit")
        await ledger.draw(name, [Count(b"bytes", 9)], number)
        if measured:
            await journal.keep_children(name, [Kept(b"a child", number, 60)])
    await journal.count({"name-2": (5, 6)})
    await journal.ending("name-3")
    await journal.forget("name-4")
    return journal


async def told(path, tables=TABLES):
    """All that the journal in `path` says. Raises HostError when it is refused."""
    journal = Journal.open(path)
    try:
        await journal.entries()
        return await journal.write(
            lambda db: {table: set(db.execute(f"SELECT * FROM {table}")) for table in tables}
        )
    finally:
        await journal.close()


class Whole(tuple):
    """(the file, what it has in it, what it says)"""

    __slots__ = ()

    def __repr__(self):
        return "a whole journal"


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    asyncio.run(fill(path))
    raw = path.read_bytes()
    return Whole((path, raw, asyncio.run(told(path))))


def check(journal, damaged):
    path, _, whole = journal
    for leftover in path.parent.iterdir():
        leftover.unlink()
    path.write_bytes(damaged)
    try:
        assert asyncio.run(told(path)) == whole
    except HostError as error:
        assert REFUSED.fullmatch(error.detail)
        return False
    return True


@settings(max_examples=150)
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte(journal, where, change):
    damaged = bytearray(journal[1])
    damaged[int(where * len(damaged))] ^= change
    check(journal, bytes(damaged))


@settings(max_examples=100)
@given(where=st.floats(0, 1, exclude_max=True), written=st.binary(min_size=1, max_size=600))
def test_anything_written_over_it(journal, where, written):
    raw = journal[1]
    at = int(where * len(raw))
    check(journal, raw[:at] + written + raw[at + len(written) :])


@settings(max_examples=50)
@given(where=st.floats(0, 1, exclude_max=True, exclude_min=True))
def test_any_end_cut_off(journal, where):
    raw = journal[1]
    assert not check(journal, raw[: max(1, int(where * len(raw)))])


@pytest.mark.parametrize(
    "value", [b"f" * 32, b"uses", b"the visit", b"name-3", b'memory = "1 MiB"', b"a child"]
)
def test_each_value_that_was_changed_is_noticed(journal, value):
    raw = journal[1]
    last = raw.rindex(value)
    assert not check(journal, raw[:last] + bytes([value[0] ^ 1]) + raw[last + 1 :])


def schema_of(path):
    """The text of everything that the file was made of."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as database:
        rows = database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
        return [sql.encode() for (sql,) in rows]


@settings(max_examples=100)
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_of_the_schemas_text_is_noticed(journal, where, change):
    path, raw, _ = journal
    path.write_bytes(raw)
    places = [raw.index(sql) + at for sql in schema_of(path) for at in range(len(sql))]
    damaged = bytearray(raw)
    damaged[places[int(where * len(places))]] ^= change
    assert not check(journal, bytes(damaged))


def test_the_whole_one_is_opened(journal):
    assert check(journal, journal[1])


async def test_a_journal_of_the_first_format_is_taken_over_whole(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"
    with monkeypatch.context() as earlier:
        earlier.setattr("bento.box.journal._FORMATS", _FORMATS[:1])
        earlier.setattr(rowsums, "damaged", lambda *_: False)
        earlier.setattr(witness, "count", lambda database: 0)
        earlier.setattr(witness.Witness, "contradicts", lambda *_: False)
        await fill(path, b"")
        earlier.setattr("bento.box.journal._entries", lambda database: [])
        before = await told(path, TABLES[:4])
    after = await told(path)
    for table in TABLES[:4]:
        assert {row[:-1] for row in after[table]} == before[table]
        assert all(row[-1] for row in after[table])


# -- what was written last, in SQLite's log --------------------------------------------------------

LOG = "journal.db-wal"
PAGE = 4096 + 24  # of the log, with the head of its frame


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """(folder, {file name: bytes} as a killed bentod leaves them, what they say)."""
    folder = tmp_path_factory.mktemp("killed")

    async def kill():
        journal = await filled(folder / "journal.db")
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        await journal.close()
        return files

    files = asyncio.run(kill())
    again = tmp_path_factory.mktemp("again")
    put(again, files)
    return again, files, asyncio.run(told(again / "journal.db"))


def put(folder, files):
    for leftover in folder.iterdir():
        leftover.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def opens_whole(left, **changed):
    folder, files, whole = left
    put(folder, files | {LOG: changed["log"]})
    try:
        assert asyncio.run(told(folder / "journal.db")) == whole
    except HostError as error:
        assert REFUSED.fullmatch(error.detail)
        return False
    return True


def test_the_log_of_a_killed_bentod_is_taken_over(left):
    assert len(left[1][LOG]) > 20 * PAGE
    assert opens_whole(left, log=left[1][LOG])


@settings(max_examples=100)
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_of_the_log(left, where, change):
    damaged = bytearray(left[1][LOG])
    damaged[int(where * len(damaged))] ^= change
    opens_whole(left, log=bytes(damaged))


@pytest.mark.parametrize("pages", [0, 1, 5, -2, -1])
def test_a_log_that_lost_its_end_is_noticed(left, pages):
    log = left[1][LOG]
    count = (len(log) - 32) // PAGE
    assert not opens_whole(left, log=log[: 32 + pages % count * PAGE])


def test_a_log_that_lost_its_last_byte_is_noticed(left):
    assert not opens_whole(left, log=left[1][LOG][:-1])


def test_a_log_that_is_gone_is_noticed_and_a_journal_moved_away_begins_anew(left):
    folder, files, _ = left
    put(folder, {name: data for name, data in files.items() if name != LOG})
    with pytest.raises(HostError, match="is damaged"):
        asyncio.run(told(folder / "journal.db"))
    (folder / "journal.db").unlink()
    assert asyncio.run(told(folder / "journal.db"))["instances"] == set()


def test_after_the_machines_end_the_log_may_have_lost_what_was_not_synced(left, monkeypatch):
    folder, files, _ = left
    monkeypatch.setattr("bento.box.journal.boot_id", lambda: "another")
    put(folder, {name: data for name, data in files.items() if name != LOG})
    assert asyncio.run(told(folder / "journal.db"))["instances"] == set()
