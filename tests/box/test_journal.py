"""The journal: what was committed is there after any end, of this format or an earlier one only."""

import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from bento.box.children import Kept
from bento.box.journal import _FORMATS, Entry, Journal
from bento.box.ledger import JournalLedger
from bento.box.tokens import Count
from bento.errors import HostError
from bento.sandbox import IMAGES, Record

RECORD = Record("name", "python", "group", IMAGES["python"].limits, 1, 2)
ENTRY = Entry(RECORD, 'memory = "1 MiB"', b"f" * 32, 100, "", 2_000_000_000, b"t" * 16)


@pytest.fixture
async def journal(tmp_path):
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def reopened(journal, path):
    await journal.close()
    return Journal.open(path / "journal.db")


async def test_what_was_added_is_there_again(tmp_path):
    journal = Journal.open(tmp_path / "journal.db")
    await journal.add(ENTRY)
    journal = await reopened(journal, tmp_path)
    assert await journal.entries() == [ENTRY]
    await journal.count({"name": (3, 4)})
    await journal.ending("name")
    journal = await reopened(journal, tmp_path)
    assert await journal.entries() == [replace(ENTRY, bytes_in=3, bytes_out=4, ending=True)]
    await journal.forget("name")
    journal = await reopened(journal, tmp_path)
    assert await journal.entries() == []
    await journal.close()


async def test_a_commit_survives_a_kill(tmp_path):
    code = """
import asyncio, os, sys
from pathlib import Path
from tests.box.test_journal import ENTRY, Count, Journal, JournalLedger
async def main():
    journal = Journal.open(Path(sys.argv[1]))
    await journal.add(ENTRY)
    await JournalLedger(journal).spend("name", [Count(b"token", 1)], b"session")
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "journal.db")], check=False)
    journal = Journal.open(tmp_path / "journal.db")
    assert await journal.entries() == [ENTRY]
    assert not await JournalLedger(journal).spend("name", [Count(b"token", 1)], b"another")
    await journal.close()


async def test_a_counted_token_is_used_as_often_as_it_may_be_and_no_more(journal):
    await journal.add(ENTRY)
    ledger = JournalLedger(journal)
    spent = [await ledger.spend("name", [Count(b"a", 3)], b"%d" % n) for n in range(5)]
    assert spent == [True, True, True, False, False]
    assert await ledger.spend("name", [Count(b"b", 1)], b"0")


async def test_the_same_session_again_is_no_further_use(journal):
    await journal.add(ENTRY)
    ledger = JournalLedger(journal)
    assert await ledger.spend("name", [Count(b"a", 1)], b"session")
    assert await ledger.spend("name", [Count(b"a", 1)], b"session")
    assert not await ledger.spend("name", [Count(b"a", 1)], b"other")


async def test_a_token_with_one_full_counter_counts_in_none(journal):
    await journal.add(ENTRY)
    ledger = JournalLedger(journal)
    assert await ledger.spend("name", [Count(b"narrow", 1)], b"0")
    assert not await ledger.spend("name", [Count(b"wide", 2), Count(b"narrow", 1)], b"1")
    assert await ledger.spend("name", [Count(b"wide", 1)], b"1")


async def test_bytes_are_drawn_to_the_limit_and_put_back(journal):
    await journal.add(ENTRY)
    ledger = JournalLedger(journal)
    counts = [Count(b"a", 100), Count(b"b", 70)]
    assert await ledger.draw("name", counts, 50) == 50
    assert await ledger.draw("name", counts, 50) == 20
    assert await ledger.draw("name", counts, 50) == 0
    await ledger.put_back("name", counts, 30)
    assert await ledger.draw("name", counts, 50) == 30


async def test_nothing_is_counted_on_what_ends_or_is_unknown(journal):
    await journal.add(ENTRY)
    ledger = JournalLedger(journal)
    await journal.ending("name")
    for name in ("name", "nobody"):
        assert not await ledger.spend(name, [Count(b"a", 1)], b"session")
        assert await ledger.draw(name, [Count(b"a", 1)], 1) == 0


async def test_a_failed_transaction_changes_nothing(journal):
    await journal.add(ENTRY)

    def half(database):
        database.execute("DELETE FROM instances")
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(HostError, match="cannot be written: disk I/O error"):
        await journal.write(half)
    assert await journal.entries() == [ENTRY]


async def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "journal.db"
    journal = Journal.open(path)
    await journal.add(ENTRY)
    await journal.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(HostError, match="format 99, this bentod knows up to") as caught:
        Journal.open(path)
    assert "newer bentod" in caught.value.hint
    assert path.read_bytes() == before


async def test_what_a_guest_was_measured_as_stays_with_it_and_goes_with_it(tmp_path):
    journal = Journal.open(tmp_path / "journal.db")
    await journal.add(replace(ENTRY, measured=b"m" * 32))
    journal = await reopened(journal, tmp_path)
    [entry] = await journal.entries()
    assert entry.measured == b"m" * 32
    await journal.forget(entry.name)
    rows = await journal.write(lambda db: db.execute("SELECT * FROM measured").fetchall())
    assert rows == []
    await journal.close()


async def test_what_a_function_has_on_other_boxes_stays_with_it_and_goes_with_it(tmp_path):
    journal = Journal.open(tmp_path / "journal.db")
    await journal.add(ENTRY)
    children = Kept(b"a", 3, 60), Kept(b"b", 1, 600)
    await journal.keep_children("name", [Kept(b"ended", 1, 60)])
    await journal.keep_children("name", children)
    journal = await reopened(journal, tmp_path)
    assert await journal.entries() == [replace(ENTRY, children=children)]
    await journal.forget("name")
    rows = await journal.write(lambda db: db.execute("SELECT * FROM children").fetchall())
    assert rows == []
    await journal.close()


async def test_a_journal_of_format_3_is_taken_over(tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("bento.box.journal._FORMATS", _FORMATS[:3])
        journal = Journal.open(tmp_path / "journal.db")
        await journal.add(ENTRY)
        await journal.close()
    journal = Journal.open(tmp_path / "journal.db")
    assert await journal.entries() == [ENTRY]
    assert ENTRY.measured == b""
    await journal.add(replace(ENTRY, record=replace(RECORD, instance_id="new"), measured=b"m"))
    await journal.close()


async def test_what_another_boot_left_is_dropped(tmp_path):
    journal = Journal.open(tmp_path / "journal.db")
    await journal.add(ENTRY)
    await journal.write(lambda database: database.execute("UPDATE boot SET id = 'earlier'"))
    journal = await reopened(journal, tmp_path)
    assert await journal.entries() == []
    await journal.close()


async def test_two_bentods_never_share_a_journal(tmp_path, monkeypatch):
    monkeypatch.setattr("bento.box.journal._PATIENCE", 0.05)
    journal = Journal.open(tmp_path / "journal.db")
    with pytest.raises(HostError, match="another bentod"):
        Journal.open(tmp_path / "journal.db")
    await journal.close()


async def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"no journal at all" * 1000)
    with pytest.raises(HostError, match="is damaged"):
        Journal.open(tmp_path / "journal.db")


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(HostError, match="cannot be opened"):
        Journal.open(tmp_path / "missing" / "journal.db")


async def test_what_has_ended_is_overwritten_and_nobody_else_may_read_it(tmp_path):
    path = tmp_path / "journal.db"
    journal = Journal.open(path)
    await journal.add(replace(ENTRY, manifest="# marked-5c1e"))
    await journal.forget("name")
    await journal.close()
    assert b"marked-5c1e" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
