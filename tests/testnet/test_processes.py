"""A process is ended only if it is provably ours."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bento.testnet.processes import Identity, Table, descendants, end, reap_adopted, socket_holders

Process = subprocess.Popen[bytes]


@contextmanager
def running(*command: str, inherited: tuple[int, ...] = ()) -> Iterator[Process]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=inherited) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: Process) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def sleeper() -> Iterator[Process]:
    with running("sleep", "1000") as process:
        yield process


def identity(process: Process) -> Identity:
    found = Identity.of("sleeper", process.pid)
    assert found is not None
    return found


async def test_a_listed_process_is_ended(sleeper: Process) -> None:
    assert await end([identity(sleeper)]) == ["sleeper"]
    assert sleeper.wait() == -signal.SIGTERM


async def test_a_process_that_got_the_id_of_an_earlier_one_is_left_alone(sleeper: Process) -> None:
    listed = identity(sleeper)
    earlier = replace(listed, start=listed.start - 1)
    assert await end([earlier]) == []
    assert sleeper.poll() is None


async def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(15, 1); print(flush=True); signal.pause()"
    with running(sys.executable, "-c", code) as deaf:
        first_line(deaf)
        await end([identity(deaf)], grace=0.2)
        assert deaf.wait(60) == -signal.SIGKILL


def test_one_that_has_ended_has_no_identity(sleeper: Process) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert Identity.of("sleeper", sleeper.pid) is None


def test_the_table_gives_back_what_was_put_in(tmp_path: Path, sleeper: Process) -> None:
    table = Table(tmp_path / "processes")
    table.put("one", sleeper.pid)
    table.put("me", os.getpid())
    assert {p.name for p in Table.read(tmp_path / "processes")} == {"one", "me"}


def test_the_table_of_an_earlier_boot_means_nothing(tmp_path: Path, sleeper: Process) -> None:
    path = tmp_path / "processes"
    Table(path).put("one", sleeper.pid)
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))
    assert Table.read(path) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"boot": 1}', "\0", '{"processes": []}'])
def test_a_damaged_table_lists_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "processes"
    path.write_text(content)
    assert Table.read(path) == []


def test_whoever_holds_a_socket_of_the_folder_is_found(tmp_path: Path) -> None:
    """So is an instance whose box was killed: nobody lists it, but it inherited its socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "i.sock"))
        with running("sleep", "1000", inherited=(listener.fileno(),)) as heir:
            assert [found.pid for found in socket_holders(tmp_path)] == [heir.pid]
            assert socket_holders(tmp_path / "elsewhere") == []


def test_a_folder_whose_name_only_begins_alike_is_another(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "ab" / "s"))
        with running("sleep", "1000", inherited=(listener.fileno(),)):
            assert socket_holders(tmp_path / "a") == []


def test_children_of_children_are_found() -> None:
    with running("sh", "-c", "sleep 1000 & echo $!; wait") as parent:
        grandchild = int(first_line(parent))
        try:
            assert {parent.pid, grandchild} <= {found.pid for found in descendants(os.getpid())}
        finally:
            os.kill(grandchild, signal.SIGKILL)


async def test_a_zombie_that_nobody_collects_is_collected_at_the_second_look() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    seen = reap_adopted(set())
    # Not yet: whoever started it may be about to collect it.
    assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    reap_adopted(seen)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)
    await asyncio.sleep(0)
