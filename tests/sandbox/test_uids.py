"""Every live instance of a machine has an outside user of its own, across processes and crashes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bento.errors import HostError
from bento.sandbox import uids
from bento.sandbox.process import start_time


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four such users."""
    monkeypatch.setattr(uids, "COUNT", 4)


def test_no_two_have_the_same(tmp_path: Path) -> None:
    claimed = [uids.claim(tmp_path) for _ in range(4)]
    assert sorted(uid.number for uid in claimed) == [300_000, 300_001, 300_002, 300_003]
    with pytest.raises(HostError):
        uids.claim(tmp_path)
    claimed[0].release()
    assert uids.claim(tmp_path).number == claimed[0].number


def test_a_released_one_leaves_no_file(tmp_path: Path) -> None:
    uid = uids.claim(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    uid.release()
    uid.release()
    assert list(tmp_path.iterdir()) == []


def test_one_bound_to_a_live_process_stays_taken_though_its_bentod_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["/usr/bin/sleep", "1000"]) as sleeper:
        _leave_behind(tmp_path, [300_000, 300_001, 300_002], sleeper.pid)
        assert uids.claim(tmp_path).number == 300_003
        with pytest.raises(HostError):
            uids.claim(tmp_path)
        sleeper.kill()
        sleeper.wait()
        assert uids.claim(tmp_path).number in (300_000, 300_001, 300_002)


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    for number in (300_000, 300_001, 300_002):
        (tmp_path / str(number)).write_text(f"{os.getpid()} {start_time(os.getpid()) + 1}\n")
    uids.claim(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"12", b"\0" * 64, b"x y\n", b"-1 0\n"])
def test_a_torn_file_means_nobody(tmp_path: Path, content: bytes) -> None:
    for number in range(300_000, 300_004):
        (tmp_path / str(number)).write_bytes(content)
    assert uids.claim(tmp_path)


def test_an_instance_of_an_earlier_bentod_can_be_adopted(tmp_path: Path) -> None:
    with subprocess.Popen(["/usr/bin/sleep", "1000"]) as sleeper:
        _leave_behind(tmp_path, [300_002], sleeper.pid)
        uids.adopt(300_002, tmp_path).release()
        assert list(tmp_path.iterdir()) == []
        sleeper.kill()


def _leave_behind(folder: Path, numbers: list[int], pid: int) -> None:
    """As a killed bentod leaves them: bound, and not locked any more."""
    for number in numbers:
        (folder / str(number)).write_text(f"{pid} {start_time(pid)}\n")
