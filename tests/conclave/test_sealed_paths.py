"""Plain Python file code works on sealed storage, unchanged; what goes around it fails and writes
nothing in the clear.
"""

import gc
import io
import json
import os
import pickle
import shutil
import sqlite3
import zipfile
from pathlib import Path

import pytest

from bento.conclave.sealed_paths import Mount
from bento.conclave.storage import SealedFolder

DATA = Path("/bento-test-data")


@pytest.fixture
def below(tmp_path):
    (tmp_path / "below").mkdir()
    return tmp_path / "below"


@pytest.fixture
def mounted(below):
    folder = SealedFolder(str(below))
    mount = Mount(folder, str(DATA))
    mount.install()
    try:
        yield folder
    finally:
        mount.uninstall()
        folder.wipe()


def test_open_pathlib_and_os(mounted, below):
    with open("/bento-test-data/a.txt", "w") as file:
        file.write("secret one")
    (DATA / "b").mkdir()
    (DATA / "b" / "c.bin").write_bytes(b"secret two")
    assert (DATA / "a.txt").read_text() == "secret one"
    assert sorted(p.name for p in DATA.iterdir()) == ["a.txt", "b"]
    assert [str(p) for p in DATA.rglob("*.bin")] == ["/bento-test-data/b/c.bin"]
    assert (DATA / "b").is_dir()
    assert (DATA / "b/c.bin").stat().st_size == 10
    assert os.path.exists("/bento-test-data/b/../a.txt")
    assert os.access(DATA / "a.txt", os.R_OK)
    (DATA / "a.txt").rename(DATA / "z.txt")
    os.replace(b"/bento-test-data/z.txt", DATA / "y.txt")
    assert not (DATA / "a.txt").exists()
    os.truncate(DATA / "y.txt", 6)
    assert (DATA / "y.txt").read_text() == "secret"
    assert [(d, n, f) for d, n, f in os.walk(DATA)] == [
        ("/bento-test-data", ["b"], ["y.txt"]),
        ("/bento-test-data/b", [], ["c.bin"]),
    ]
    (DATA / "b/c.bin").unlink()
    (DATA / "b").rmdir()
    os.remove(DATA / "y.txt")
    assert os.listdir(DATA) == []
    assert list(below.iterdir()) == []


def test_modules_that_write_files(mounted, below, tmp_path):
    with open(DATA / "j", "w") as file:
        json.dump({"secret": 1}, file)
    with open(DATA / "p", "wb") as file:
        pickle.dump(["secret"], file)
    with zipfile.ZipFile(DATA / "z.zip", "w") as archive:
        archive.writestr("inside", "secret" * 100)
    with zipfile.ZipFile(DATA / "z.zip") as archive:
        assert archive.read("inside") == b"secret" * 100
    shutil.copyfile(DATA / "j", DATA / "k")
    assert json.loads((DATA / "k").read_text()) == {"secret": 1}
    shutil.copyfile(DATA / "k", tmp_path / "out")
    assert (tmp_path / "out").read_text() == '{"secret": 1}'
    assert not any(b"secret" in p.read_bytes() for p in below.iterdir())


def test_sqlite_databases(mounted, below):
    with sqlite3.connect(DATA / "d.sqlite") as connection:
        connection.execute("create table t (x text)")
        connection.executemany("insert into t values (?)", [("secret",)] * 100)
    connection.close()
    connection = sqlite3.connect(str(DATA / "d.sqlite"))
    assert connection.execute("select count(*) from t").fetchone() == (100,)
    connection.execute("delete from t")
    connection.rollback()
    connection.execute("insert into t values ('more')")
    connection.commit()
    connection.execute("insert into t values ('lost')")
    connection.close()
    connection = sqlite3.connect(DATA / "d.sqlite")
    assert connection.execute("select count(*) from t").fetchone() == (101,)
    connection.close()
    assert (DATA / "d.sqlite").stat().st_size > 4096
    assert not any(b"secret" in p.read_bytes() for p in below.iterdir())


def test_a_database_in_autocommit_mode_is_saved_at_the_end(mounted):
    connection = sqlite3.connect(DATA / "d", isolation_level=None)
    connection.execute("create table t (x)")
    connection.close()
    again = sqlite3.connect(DATA / "d")
    assert again.execute("select name from sqlite_master").fetchall() == [("t",)]
    again.close()


def test_connections_to_one_database_share_it(mounted):
    one, two = sqlite3.connect(DATA / "d"), sqlite3.connect(DATA / "d", 0.01)
    one.execute("create table t (x)")
    one.execute("insert into t values (1)")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        two.execute("insert into t values (2)")
    one.commit()
    two.execute("insert into t values (2)")
    two.commit()
    assert one.execute("select x from t order by x").fetchall() == [(1,), (2,)]
    one.close()
    assert two.execute("select count(*) from t").fetchone() == (2,)
    two.close()


def test_whoever_looks_at_an_open_database_sees_what_is_committed(mounted, tmp_path):
    connection = sqlite3.connect(DATA / "d")
    connection.execute("create table t (x)")
    connection.execute("insert into t values ('one')")
    connection.commit()
    connection.execute("insert into t values ('not yet')")
    shutil.copyfile(DATA / "d", DATA / "meanwhile")  # an open transaction holds nobody up
    connection.rollback()
    os.rename(DATA / "d", DATA / "renamed")
    shutil.copyfile(DATA / "renamed", tmp_path / "plain")
    plain = sqlite3.connect(tmp_path / "plain")
    assert plain.execute("select x from t").fetchall() == [("one",)]
    plain.close()
    assert b"not yet" not in (DATA / "meanwhile").read_bytes()
    connection.close()
    again = sqlite3.connect(DATA / "renamed")
    assert again.execute("select x from t").fetchall() == [("one",)]
    again.close()


def test_a_database_that_was_only_let_go_of_is_kept(mounted):
    connection = sqlite3.connect(DATA / "d")
    connection.execute("create table t (x)")
    connection.commit()
    connection.execute("insert into t values ('never committed')")
    del connection
    gc.collect()  # a connection refers to itself
    again = sqlite3.connect(DATA / "d")
    assert again.execute("select * from t").fetchall() == []
    again.close()


def test_a_large_sort_puts_nothing_aside_in_the_clear(mounted):
    connection = sqlite3.connect(DATA / "d")
    assert connection.execute("pragma temp_store").fetchone() == (2,)  # memory
    connection.close()


def test_paths_elsewhere_are_untouched(mounted, below, tmp_path, monkeypatch):
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert plain.read_text() == "x"
    monkeypatch.chdir(tmp_path)
    assert Path("plain").read_text() == "x"
    assert "plain" in os.listdir()
    with open(os.open(plain, os.O_RDONLY)) as file:
        assert file.read() == "x"
    assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
    assert not Path("/bento-test-data-other").exists()


def test_moving_across_the_border_is_another_device(mounted, tmp_path):
    (DATA / "f").write_text("x")
    with pytest.raises(OSError) as caught:
        os.rename(DATA / "f", tmp_path / "f")
    assert caught.value.errno == 18
    shutil.move(DATA / "f", tmp_path / "f")
    assert (tmp_path / "f").read_text() == "x"
    assert not (DATA / "f").exists()


def test_code_that_goes_around_fails_instead_of_writing_in_the_clear(mounted):
    with pytest.raises(FileNotFoundError):
        os.open(DATA / "f", os.O_CREAT | os.O_WRONLY)
    with pytest.raises(FileNotFoundError):
        io.FileIO(str(DATA / "f"), "w")
    with pytest.raises(FileNotFoundError):
        os.chdir(DATA)


def test_an_existing_prefix_is_refused(tmp_path):
    with pytest.raises(ValueError, match="in the clear"):
        Mount(SealedFolder(str(tmp_path)), str(tmp_path))


def test_everything_is_put_back(below):
    before = (open, io.open, os.stat, os.rename, sqlite3.connect)
    mount = Mount(SealedFolder(str(below)), str(DATA))
    mount.install()
    assert open is not before[0]
    mount.uninstall()
    assert (open, io.open, os.stat, os.rename, sqlite3.connect) == before
