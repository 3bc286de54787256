"""FS Protect: files behave like files, the folder below shows noise, and nothing the operator does
to it is believed.
"""

import errno
import hmac
import io
import os
import random
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento.conclave.sealed_block import BLOCK, RUN
from bento.conclave.sealed_room import ROOM
from bento.conclave.secret import Secret
from bento.conclave.storage import IntegrityError, SealedFolder

SECRET = b"a secret that must not be found on disk. "


@pytest.fixture
def below(tmp_path):
    (tmp_path / "below").mkdir()
    return tmp_path / "below"


@pytest.fixture
def folder(below):
    """One without room: what nobody has open lies sealed below."""
    sealed = SealedFolder(str(below), room=0)
    yield sealed
    sealed.wipe()


def write(folder, path, data):
    with folder.open(path, "wb") as file:
        file.write(data)


def read(folder, path):
    with folder.open(path, "rb") as file:
        return file.read()


# --- files are files


@pytest.mark.parametrize(
    "size", [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK * (RUN * 2 + 1) + 7]
)
def test_what_is_written_is_read_back(folder, size):
    data = os.urandom(size)
    write(folder, "f", data)
    assert read(folder, "f") == data
    assert folder.stat("f").st_size == size


def test_text_lines_and_encodings(folder):
    with folder.open("t", "w", encoding="utf-8") as file:
        file.write("one\nzwei\nдва\n")
    with folder.open("t", encoding="utf-8") as file:
        assert list(file) == ["one\n", "zwei\n", "два\n"]
        assert (file.name, file.mode) == ("t", "r")
    with folder.open("t", "a+", encoding="utf-8") as file:
        file.write("four\n")
        file.seek(0)
        assert len(file.readlines()) == 4


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3 * BLOCK), st.integers(0, 3 * BLOCK)),
        st.tuples(st.just("read"), st.integers(0, 7 * BLOCK), st.integers(0, 5 * BLOCK)),
        st.tuples(st.just("truncate"), st.integers(0, 7 * BLOCK), st.just(0)),
        st.tuples(st.just("append"), st.integers(0, 2 * BLOCK), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@given(
    OPERATIONS,
    st.sampled_from([0, -1]),
    st.sampled_from([0, BLOCK, 4 * BLOCK, ROOM]),
    st.integers(0, 2**32),
)
@settings(max_examples=100)
def test_any_use_gives_what_a_plain_file_gives(tmp_path_factory, operations, buffering, room, seed):
    chance = random.Random(seed)
    base = tmp_path_factory.mktemp("any")
    sealed = SealedFolder(str(base), room)
    plain_path = base / "plain"
    plain_path.write_bytes(b"")
    write(sealed, "f", b"")

    def both():
        return [opener(path, "r+b", buffering) for opener, path in pair]

    pair = ((open, plain_path), (sealed.open, "f"))
    handles = both()
    try:
        for name, first, second in operations:
            if name == "reopen":
                [h.close() for h in handles]
                handles = both()
                continue
            data = chance.randbytes(second if name == "write" else first)
            plain, ours = (_apply(h, name, first, second, data) for h in handles)
            assert plain == ours
        [h.flush() for h in handles]
        assert plain_path.read_bytes() == read(sealed, "f")
    finally:
        [h.close() for h in handles]
        sealed.wipe()


def _apply(handle, name, first, second, data):
    if name == "append":
        handle.seek(0, os.SEEK_END)
        return handle.write(data), handle.tell()
    if name == "truncate":
        return handle.truncate(first), handle.tell()
    handle.seek(first)
    return (handle.write(data) if name == "write" else handle.read(second)), handle.tell()


def test_a_gap_reads_as_zeros(folder):
    with folder.open("f", "wb") as file:
        file.write(b"start")
        file.seek(3 * BLOCK + 5)
        file.write(b"end")
    data = read(folder, "f")
    assert data == b"start" + bytes(3 * BLOCK) + b"end"


def test_a_shortened_file_does_not_bring_its_old_end_back(folder):
    write(folder, "f", b"x" * 100)
    folder.truncate("f", 10)
    folder.truncate("f", 100)
    assert read(folder, "f") == b"x" * 10 + bytes(90)


def test_two_handles_see_each_other(folder):
    with folder.open("f", "wb", 0) as writer, folder.open("f", "rb", 0) as reader:
        writer.write(b"one")
        assert reader.read() == b"one"
        writer.write(b"two")
        assert reader.read() == b"two"


def test_long_reads_and_writes_meet_a_block_that_is_not_sealed_yet(folder):
    with folder.open("f", "w+b", 0) as file:
        file.write(b"1" * 4 * BLOCK)
        file.seek(BLOCK + 5)
        file.write(b"new")  # block 1 is held in the clear now
        file.seek(0)
        assert file.read(4 * BLOCK)[BLOCK : BLOCK + 9] == b"11111new1"
        file.seek(0)
        file.write(b"2" * 4 * BLOCK)
        file.seek(3 * BLOCK + 1)
        file.write(b"x")  # whatever was held is sealed before another block is
    assert read(folder, "f") == b"2" * (3 * BLOCK + 1) + b"x" + b"2" * (BLOCK - 2)


def test_more_changed_blocks_than_there_is_room_for(below):
    folder = SealedFolder(str(below), room=8 * BLOCK)
    data = bytearray(os.urandom(BLOCK * 24 + 100))
    write(folder, "f", data)
    chance = random.Random(3)
    with folder.open("f", "r+b", 0) as file:
        for _ in range(320):
            at = chance.randrange(len(data) - 9)
            file.seek(at)
            file.write(b"a change.")
            data[at : at + 9] = b"a change."
            at = chance.randrange(len(data))
            file.seek(at)
            assert file.read(50) == data[at : at + 50]
    assert read(folder, "f") == data


def test_no_more_than_the_disk_has_is_held_in_the_clear(below, monkeypatch):
    folder = SealedFolder(str(below), room=8 * BLOCK)
    real = os.statvfs(below)

    class Small:
        f_frsize, f_bavail = real.f_frsize, 3 * BLOCK // real.f_frsize

    with folder.open("f", "wb", 0) as file:
        file.write(b"1" * 2 * BLOCK)
        monkeypatch.setattr(os, "statvfs", lambda _: Small)
        with pytest.raises(OSError, match="No space"):
            file.write(b"2" * 2 * BLOCK)
    assert read(folder, "f") == b"1" * 2 * BLOCK + b"2" * BLOCK


def test_what_has_room_is_not_written_and_what_was_deleted_makes_room(below):
    folder = SealedFolder(str(below), room=4 * BLOCK)
    for turn in range(9):
        write(folder, f"f{turn}", SECRET * 2000)  # 2.5 blocks
        assert not list(below.iterdir())
        folder.unlink(f"f{turn}")
    write(folder, "a", SECRET * 2000)
    write(folder, "b", SECRET * 2000)
    assert list(below.iterdir()), "there is no room for both"
    assert read(folder, "a") == read(folder, "b") == SECRET * 2000


@pytest.mark.parametrize("room", [0, 4 * BLOCK])
def test_there_may_be_more_files_than_descriptors(below, room):
    folder = SealedFolder(str(below), room)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        for number in range(300):
            write(folder, f"f{number}", b"%4000d" % number)
        assert all(read(folder, f"f{n}") == b"%4000d" % n for n in range(300))
        for number in range(300):
            folder.truncate(f"f{number}", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_full_disk_loses_nothing_that_was_written_before(folder, below, monkeypatch):
    write(folder, "f", b"1" * 2 * BLOCK)
    room, real = 3 * (BLOCK + 16) + 5, os.pwrite

    def pwrite(descriptor, data, offset):
        if offset >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: room - offset], offset)

    with folder.open("f", "r+b", 0) as file:
        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space"):
            file.write(b"2" * 6 * BLOCK)
        monkeypatch.undo()
        file.seek(0)
        assert file.read() == b"2" * 2 * BLOCK


def test_appending_handles_do_not_overwrite(folder):
    with folder.open("f", "ab", 0) as a, folder.open("f", "ab", 0) as b:
        a.write(b"1")
        b.write(b"2")
        a.write(b"3")
    assert read(folder, "f") == b"123"


def test_threads_may_share_a_file(folder):
    with folder.open("f", "wb") as file:
        file.write(bytes(64 * 100))

    def work(n):
        with folder.open("f", "r+b", 0) as file:
            for k in range(20):
                file.seek(64 * (n * 20 + k))
                file.write(bytes([n + 1]) * 64)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert read(folder, "f") == b"".join(bytes([n + 1]) * 64 * 20 for n in range(5))


MODES = ["r", "rb", "w", "wb", "a", "ab", "x", "xb", "r+", "w+b", "a+", "x+b"]


@pytest.mark.parametrize("mode", MODES)
def test_modes_do_what_they_do_for_plain_files(folder, tmp_path, mode):
    def attempt(opener, path):
        try:
            with opener(path, mode) as file:
                return file.readable(), file.writable(), file.seekable(), file.tell()
        except OSError as error:
            return type(error), error.errno

    for exists in (False, True):
        if exists:
            write(folder, "f", b"12345")
            (tmp_path / "f").write_bytes(b"12345")
        else:
            (tmp_path / "f").unlink(missing_ok=True)
        assert attempt(folder.open, "f") == attempt(open, tmp_path / "f")
        if not exists and folder.exists("f"):
            folder.unlink("f")


@pytest.mark.parametrize("mode", ["", "rw", "q", "rr", "r+b+", "tb", "rbt"])
def test_wrong_modes_are_refused(folder, mode):
    with pytest.raises(ValueError):
        folder.open("f", mode)


def test_wrong_uses_are_refused_like_a_plain_files(folder):
    write(folder, "f", b"x")
    with folder.open("f", "rb", 0) as file:
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
        with pytest.raises(OSError):
            file.seek(-1)
    with pytest.raises(ValueError):
        file.read()
    with pytest.raises(ValueError):
        folder.open("f", "r", 0)


# --- names and folders


def test_a_tree_of_folders(folder):
    folder.mkdir("a")
    folder.mkdir("a/b")
    write(folder, "a/b/f", b"1")
    write(folder, "/a/./x/../g", b"2")
    assert sorted(folder.listdir("a")) == ["b", "g"]
    folder.rename("a", "c")
    assert read(folder, "c/b/f") == b"1"
    assert not folder.exists("a")
    folder.unlink("c/b/f")
    folder.rmdir("c/b")
    assert folder.listdir("c") == ["g"]


def test_rename_replaces_a_file_and_open_handles_live_on(folder, below):
    write(folder, "old", b"old")
    write(folder, "new", b"new")
    with folder.open("new", "rb") as still:
        folder.rename("old", "new")
        assert still.read() == b"new"
    assert read(folder, "new") == b"old"
    assert len(list(below.iterdir())) == 1


ERRORS = [
    (FileNotFoundError, lambda f: f.open("none")),
    (FileNotFoundError, lambda f: f.open("none/f", "w")),
    (NotADirectoryError, lambda f: f.open("file/f", "w")),
    (IsADirectoryError, lambda f: f.open("dir", "w")),
    (FileExistsError, lambda f: f.mkdir("dir")),
    (FileExistsError, lambda f: f.mkdir("file")),
    (OSError, lambda f: f.rmdir("full")),
    (OSError, lambda f: f.rmdir("")),
    (NotADirectoryError, lambda f: f.rmdir("file")),
    (NotADirectoryError, lambda f: f.listdir("file")),
    (FileNotFoundError, lambda f: f.listdir("none")),
    (FileNotFoundError, lambda f: f.unlink("none")),
    (IsADirectoryError, lambda f: f.unlink("dir")),
    (FileNotFoundError, lambda f: f.rename("none", "x")),
    (FileNotFoundError, lambda f: f.rename("none", "none")),
    (IsADirectoryError, lambda f: f.rename("file", "dir")),
    (NotADirectoryError, lambda f: f.rename("dir", "file")),
    (OSError, lambda f: f.rename("dir", "full")),
    (OSError, lambda f: f.rename("full", "full/inside")),
    (FileNotFoundError, lambda f: f.stat("none")),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_mistakes_give_the_errors_of_the_os(folder, number):
    folder.mkdir("dir")
    folder.mkdir("full")
    write(folder, "full/f", b"x")
    write(folder, "file", b"x")
    kind, act = ERRORS[number]
    with pytest.raises(kind):
        act(folder)


def test_no_path_leads_above(folder, below):
    write(folder, "../../f", b"x")
    assert folder.exists("f")
    assert len(list(below.iterdir())) == 1


# --- what the operator sees, and can do


def test_neither_content_nor_name_nor_exact_size_is_on_disk(folder, below):
    folder.mkdir("diary")
    write(folder, "diary/my-secret-name.txt", SECRET * 2000)
    write(folder, "small", SECRET)
    write(folder, "smaller", b"1")
    for path in below.rglob("*"):
        assert b"secret" not in path.read_bytes()
        assert len(path.name) == 32
        assert path.is_file()
    sizes = sorted(p.stat().st_size for p in below.iterdir())
    assert sizes[:2] == [4096 + 16] * 2
    assert not any(b"secret" in os.fsencode(p.name) for p in below.iterdir())


def only(below):
    (path,) = below.iterdir()
    return path


def test_a_flipped_bit_anywhere_is_noticed(folder, below):
    write(folder, "f", SECRET * 1000)
    good = only(below).read_bytes()
    for at in random.Random(1).sample(range(len(good)), 60):
        changed = bytearray(good)
        changed[at] ^= 1
        only(below).write_bytes(changed)
        with pytest.raises(IntegrityError):
            read(folder, "f")
    only(below).write_bytes(good)
    assert read(folder, "f") == SECRET * 1000


def test_a_rolled_back_file_or_block_is_noticed(folder, below):
    write(folder, "f", b"1" * 3 * BLOCK)
    old = only(below).read_bytes()
    with folder.open("f", "r+b") as file:
        file.write(b"2" * BLOCK)
    new = only(below).read_bytes()
    stride = BLOCK + 16
    for back in (old, old[:stride] + new[stride:]):
        only(below).write_bytes(back)
        with pytest.raises(IntegrityError):
            read(folder, "f")
    only(below).write_bytes(new)
    assert read(folder, "f") == b"2" * BLOCK + b"1" * 2 * BLOCK


def test_swapped_blocks_are_noticed(folder, below):
    write(folder, "f", b"1" * BLOCK + b"2" * BLOCK)
    raw, stride = only(below).read_bytes(), BLOCK + 16
    only(below).write_bytes(raw[stride:] + raw[:stride])
    with pytest.raises(IntegrityError):
        read(folder, "f")


def test_swapped_files_are_noticed(folder, below):
    write(folder, "a", b"1" * 50)
    write(folder, "b", b"2" * 50)
    one, two = below.iterdir()
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1])
    two.write_bytes(data[0])
    for name in "ab":
        with pytest.raises(IntegrityError):
            read(folder, name)


@pytest.mark.parametrize("size", [0, 1, 16, BLOCK, BLOCK + 16, 2 * BLOCK])
def test_a_cut_file_is_noticed(folder, below, size):
    write(folder, "f", os.urandom(2 * BLOCK))
    os.truncate(only(below), size)
    with pytest.raises(IntegrityError):
        read(folder, "f")


def test_a_short_block_cut_or_grown_over_is_noticed(folder, below):
    write(folder, "f", b"12345")
    with folder.open("f", "r+b") as file:
        file.seek(BLOCK * 2)
        file.write(b"later")
    assert read(folder, "f")[:8] == b"12345\0\0\0"
    raw = bytearray(only(below).read_bytes())
    raw[10] ^= 1
    only(below).write_bytes(raw)
    with pytest.raises(IntegrityError):
        read(folder, "f")


def test_a_removed_or_replaced_file_is_noticed(folder, below):
    write(folder, "f", b"1" * 50)
    path = only(below)
    path.unlink()
    with pytest.raises(IntegrityError):
        read(folder, "f")
    path.write_bytes(os.urandom(4096 + 16))
    with pytest.raises(IntegrityError):
        read(folder, "f")
    folder.unlink("f")
    assert not list(below.iterdir())


def test_the_same_content_twice_looks_different(folder, below):
    write(folder, "a", b"same" * 100)
    write(folder, "b", b"same" * 100)
    first, second = (p.read_bytes() for p in below.iterdir())
    assert first != second
    write(folder, "a", b"same" * 100)
    assert len({first, second, *(p.read_bytes() for p in below.iterdir())}) == 3


# --- the end


def test_wiping_leaves_nothing_and_open_handles_are_useless(below):
    folder = SealedFolder(str(below))
    write(folder, "f", SECRET * 1000)
    file = folder.open("f", "rb", 0)
    folder.wipe()
    folder.wipe()
    assert not list(below.iterdir())
    with pytest.raises(ValueError, match="wiped"):
        file.read(10)
    with pytest.raises(ValueError, match="wiped"):
        folder.open("g", "w")
    file.close()


def test_wiping_overwrites_the_key_itself(below):
    folder = SealedFolder(str(below))
    view = folder._room.master.view()
    assert any(view)
    folder.wipe()
    assert view == bytes(32)


def test_secrets_are_not_printed_or_pickled():
    import pickle

    secret = Secret()
    assert "Secret" in repr(secret)
    assert secret.view().hex() not in repr(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


SCAN = """
import sys
sys.path[:0] = [{source!r}]
from bento.conclave.storage import SealedFolder
import os
folder = SealedFolder({below!r}, room=0)
with folder.open("f", "wb") as file:
    file.write(os.urandom(200_000))
with folder.open("f", "rb") as file:
    file.read()
print(folder._room.master.view().hex(), flush=True)
sys.stdin.readline()
folder.wipe()
print("wiped", flush=True)
sys.stdin.readline()
"""


def _copies(pid, needle):
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                found += memory.read(end - start).count(needle)
            except OSError:
                pass
    return found


def test_after_wiping_the_key_is_nowhere_in_memory(below):
    """The honest other half: while the folder is in use, root reads the key of an emulated one."""
    source = str(Path(sys.modules["bento.conclave.storage"].__file__).parents[2])
    script = SCAN.format(source=source, below=str(below))
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        key = bytes.fromhex(child.stdout.readline())
        assert len(key) == 32
        # The cipher expands a file's key twice, to seal and to open; a third copy would be ours.
        file_key = hmac.digest(
            key, b"bento sealed file " + bytes.fromhex(only(below).name), "sha256"
        )
        assert _copies(child.pid, key) >= 1
        assert 1 <= _copies(child.pid, file_key) <= 2
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "wiped\n"
        assert _copies(child.pid, key) == 0
        assert _copies(child.pid, file_key) == 0
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


def test_a_killed_conclave_leaves_only_noise(below):
    source = str(Path(sys.modules["bento.conclave.storage"].__file__).parents[2])
    script = SCAN.format(source=source, below=str(below)).replace(
        "os.urandom(200_000)", "b'secret' * 9999"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert only(below).stat().st_size > 50_000
    assert b"secret" not in only(below).read_bytes()


def test_it_runs_on_debians_python_too(below):
    source = str(Path(sys.modules["bento.conclave.storage"].__file__).parents[2])
    script = (
        f"import sys; sys.path[:0] = [{source!r}]; "
        "sys.path.append('/usr/lib/python3/dist-packages')\n"
        "from bento.conclave.storage import SealedFolder\n"
        f"f = SealedFolder({str(below)!r}, room=0)\n"
        "data = bytes(range(256)) * 4000\n"
        "h = f.open('x', 'wb'); h.write(data); h.close()\n"
        "assert f.open('x', 'rb').read() == data\n"
        "f.wipe()\n"
    )
    subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", script], check=True)
